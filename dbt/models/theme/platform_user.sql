-- one row per current user of an organisation; name and phone as ciphertext and join token only
{{ as_reported('platform_user') }}
