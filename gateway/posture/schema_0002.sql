-- What was changed from a command line and the log does not have yet: the running gateway writes it there, and deletes it here.
CREATE TABLE news (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    body TEXT NOT NULL
) STRICT;
