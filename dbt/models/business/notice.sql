-- one row per current notice
{{ as_reported('notice') }}
