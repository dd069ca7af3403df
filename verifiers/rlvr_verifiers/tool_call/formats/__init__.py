"""One reader a format: `read(text, tools) -> ParsedCalls`. A reader never raises but for JsonTooLargeError on too many calls."""
