-- one row per scenario project and week of its construction
{{ as_reported('project_report') }}
