-- one row per file of evidence: where it belongs and how to know it again, not its content
{{ as_reported('evidence_file') }}
