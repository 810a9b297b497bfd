-- one row per acceptance of a self-assessment by city or province, repeated ones their own
{{ as_reported('acceptance') }}
