-- one row per region that answered
select place as region_code, count(*) as answer_count, cast(avg(cast(score as double)) as double) as average_score
from {{ ref('stg_survey__answer') }}
where _op <> 'delete'
group by place
