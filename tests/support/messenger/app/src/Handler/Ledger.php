<?php

declare(strict_types=1);

namespace App\Handler;

/** What handlers have done, outside of any database: a file for each message, with a line for each thing done. */
final class Ledger
{
    public function __construct(private readonly string $folder)
    {
    }

    /** The number of times that this handler began with the message before. */
    public function begin(string $handler, string $name): int
    {
        $before = substr_count((string) @file_get_contents("$this->folder/$name"), "begin $handler ");
        $this->write('begin', $handler, $name);

        return $before;
    }

    public function write(string $what, string $handler, string $name): void
    {
        $line = sprintf("%s %s %d %d %s\n", $what, $handler, getmypid(), 1000 * microtime(true), \PHP_SAPI);
        file_put_contents("$this->folder/$name", $line, \FILE_APPEND);
    }
}
