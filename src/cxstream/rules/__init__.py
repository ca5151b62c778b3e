"""Rules as an operator sees them: files, what is in force in the log, what a change does, and how it is written."""
