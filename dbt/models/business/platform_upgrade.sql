-- one row per city or county and component of its platform that is changed
{{ as_reported('platform_upgrade') }}
