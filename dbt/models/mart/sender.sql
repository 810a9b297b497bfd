-- one row per sender and region that it answers for
{{ config(materialized='incremental', unique_key=['sender_code', 'region_code']) }}
select sender_code, name as sender_name, region_code
from {{ source('reference', 'sender') }}
