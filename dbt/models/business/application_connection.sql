-- one row per major application, city and stage of connecting it
{{ as_reported('application_connection') }}
