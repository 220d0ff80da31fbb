#!/bin/sh
# A CGI program that answers with what it was sent, and as its params tell it:
#
#   ANSWER_STDERR  a line for STDERR
#   ANSWER_HEADER  instead of "Status: 200 OK"
#   ANSWER_BYTES   so many NULs instead of what it was sent
#   ANSWER_EXIT    the exit status

# All is read before anything is written: fcgiwrap passes STDIN on to its end before it looks at the output.
body=$(mktemp "$0.XXXXXX")
trap 'rm -f "$body"' EXIT
head -c "${CONTENT_LENGTH:-0}" >"$body"

[ -z "$ANSWER_STDERR" ] || printf '%s\n' "$ANSWER_STDERR" >&2
printf '%s\r\nX-Pid: %s\r\n\r\n' "${ANSWER_HEADER:-Status: 200 OK}" "$$"
if [ -n "$ANSWER_BYTES" ]; then head -c "$ANSWER_BYTES" /dev/zero; else cat "$body"; fi
exit "${ANSWER_EXIT:-0}"
