-- one row per current case of administrative review; the applicant as ciphertext and join token only
{{ as_reported('review_case', {'handling_minutes': minutes_between('accepted_at', 'closed_at')}) }}
