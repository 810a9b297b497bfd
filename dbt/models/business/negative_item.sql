-- one row per item of the negative list
{{ as_reported('negative_item') }}
