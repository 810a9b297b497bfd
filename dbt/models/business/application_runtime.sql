-- one row per deployed scenario application and inspection
{{ as_reported('application_runtime') }}
