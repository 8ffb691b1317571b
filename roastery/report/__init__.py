"""What a person reads after a conversion: a Markdown file and an HTML page, both of one content."""
