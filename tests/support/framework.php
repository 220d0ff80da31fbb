<?php

declare(strict_types=1);

/*
 * A framework that keeps retries and failed messages itself, as Symfony Messenger and Laravel do. A message is JSON: `name`; `tries`
 * that have failed, of `max`; `do`, what its handler does at each of its first tries; `died`, the same for what hears of its deaths.
 * The files are in the folder of the script that requires this one.
 */

use Fervo\Runner\Application;
use Fervo\Runner\Failure;
use Fervo\Runner\Job;
use Fervo\Runner\Outcome;
use Fervo\Runner\Runner;

require __DIR__.'/../../php/runner/autoload.php';

final class Framework implements Application
{
    public function __construct(private readonly string $folder)
    {
    }

    public function run(Job $job): mixed
    {
        $message = json_decode($job->payload, true);
        $this->note('runs', "$message[name] $message[tries]");
        match ($message['do'][$message['tries']] ?? 'nothing') {
            'nothing' => null,
            'kill' => $this->end('KILL'),
            'segv' => $this->end('SEGV'),
            'exit' => exit(0),
            'memory' => str_repeat('x', 1 << 30),
            'sleep' => sleep(600),
            'hold' => $this->hold("$message[name]-$message[tries]"),
        };

        return Outcome::ack();
    }

    /** Several messages at once, as a batch handler does when it has enough of them. */
    public function flush(Job ...$jobs): void
    {
        foreach ($jobs as $job) {
            $message = json_decode($job->payload, true);
            $this->note('runs', "$message[name] $message[tries]");
            if ('kill' === ($message['do'][$message['tries']] ?? null)) {
                $this->end('KILL');
            }
        }
    }

    public function died(Job $job, Failure $failure): Outcome
    {
        $message = json_decode($job->payload, true);
        $this->note('deaths', "$message[name] $message[tries] $failure->code $failure->id");
        match (array_shift($message['died']) ?? 'nothing') {
            'nothing' => null,
            'kill' => is_file("$this->folder/well") ? null : $this->end('KILL'),
        };
        if (++$message['tries'] >= $message['max']) {
            $this->note('failed', (string) $message['name']);

            return Outcome::handled($failure->code);
        }

        return Outcome::replace(json_encode($message), $job->headers, 0, $failure->code);
    }

    private function end(string $signal): never
    {
        shell_exec("kill -$signal ".getmypid());
        sleep(600);
    }

    /** Until the test makes the file `go`, or that of this try. */
    private function hold(string $try): void
    {
        while (!is_file("$this->folder/go") && !is_file("$this->folder/go-$try")) {
            clearstatcache();
            usleep(1000);
        }
    }

    private function note(string $file, string $line): void
    {
        file_put_contents("$this->folder/$file", "$line\n", \FILE_APPEND | \LOCK_EX);
    }
}

function serve(string $folder): void
{
    Runner::serve(static function () use ($folder): Application {
        if (is_file("$folder/broken")) {
            throw new LogicException('The deployment is broken.');
        }

        return new Framework($folder);
    });
}
