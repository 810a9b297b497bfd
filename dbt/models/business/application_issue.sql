-- one row per issue that a user has raised about a scenario application
{{ as_reported('application_issue') }}
