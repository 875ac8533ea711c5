"""Who gets the site's power, and what each pays."""
