<?php

declare(strict_types=1);

namespace App;

/** Writes each step and its process into var/journal.log. */
final class Journal
{
    public function __construct(private readonly string $file)
    {
    }

    public function write(string $text): void
    {
        $line = sprintf("%s process %d (%s): %s\n", date('H:i:s'), getmypid(), \PHP_SAPI, $text);
        file_put_contents($this->file, $line, \FILE_APPEND | \LOCK_EX);
    }
}
