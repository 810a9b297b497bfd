-- one row per test of a scenario application, planned or done
{{ as_reported('application_test') }}
