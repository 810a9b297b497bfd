-- one row per major application, county and month: its business there
{{ as_reported('application_activity') }}
