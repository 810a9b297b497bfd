-- one row per share, receiving level, department, purpose and column that is granted
{{ config(materialized='incremental', unique_key=['share', 'receiver_level', 'receiver_department', 'purpose', 'column_name']) }}
select
    share,
    title,
    table_name,
    receiver_level,
    receiver_department,
    purpose,
    column_no,
    column_name,
    column_title,
    column_class,
    is_sensitive
from {{ source('reference', 'entitlement') }}
