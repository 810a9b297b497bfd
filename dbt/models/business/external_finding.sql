-- one row per current finding of another system's model; its subject's name and number as ciphertext and join token only
{{ as_reported('external_finding') }}
