-- one row per pilot indicator, city and quarter: the city's own mark
{{ as_reported('self_assessment') }}
