-- one row per rating of a scenario application by one of its users
{{ as_reported('application_rating') }}
