<?php

declare(strict_types=1);

namespace App\Handler;

use App\Message\Job;

/** Writes what it does into one file, in lines of the same length: the file's size tells how far all messages are. */
final class DoJob
{
    /** php-fpm has no pcntl, and so no constant. */
    private const SIGKILL = 9;

    public function __construct(private readonly string $folder)
    {
    }

    public function __invoke(Job $job): void
    {
        $this->write('begin', $job);
        match ($job->action) {
            'ok' => null,
            'fails once' => $this->isFirst($job) && $this->fail($job),
            'fails' => $this->fail($job),
            'kills the machine' => $this->killTheMachine(),
        };
        $this->write('end', $job);
    }

    private function fail(Job $job): never
    {
        $this->write('fail', $job);
        throw new \DomainException('The printer is on fire');
    }

    private function isFirst(Job $job): bool
    {
        return false !== @fopen("$this->folder/failed-$job->name", 'x');
    }

    /** Nothing of it can answer any more: the worker, php-fpm and this process. */
    private function killTheMachine(): never
    {
        foreach (file("$this->folder/machine", \FILE_IGNORE_NEW_LINES) as $process) {
            posix_kill((int) $process, self::SIGKILL);
        }
        posix_kill(getmypid(), self::SIGKILL);
    }

    private function write(string $what, Job $job): void
    {
        file_put_contents("$this->folder/runs", sprintf("%-5s %-14s %13d\n", $what, $job->name, 1000 * microtime(true)), \FILE_APPEND);
    }
}
