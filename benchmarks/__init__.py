"""Commands that measure: numbers for the documentation, each with its command, commit and device."""
