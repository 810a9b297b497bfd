-- one row per scenario project; its contact as ciphertext and join token only
{{ as_reported('scenario_project') }}
