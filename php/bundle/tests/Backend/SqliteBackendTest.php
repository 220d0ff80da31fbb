<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Backend;

use Fervo\DeferredEventBundle\Backend\SqliteBackend;
use Fervo\DeferredEventBundle\Exception\SendFailedException;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use PHPUnit\Framework\TestCase;

final class SqliteBackendTest extends TestCase
{
    public function testInsertsWhatTheWorkerReads(): void
    {
        $path = Queue::create();
        $before = (int) (microtime(true) * 1000);
        (new SqliteBackend($path, 5000))->send(
            Queue::job("a\nb", 'mail'),
            Queue::job('later', 'reports', delayMs: 60_000, priority: 5, attempts: 3),
        );

        [$now, $later] = Queue::rows($path);
        self::assertSame(["a\nb", 'mail', 'ready', 0, null], [$now['payload'], $now['queue'], $now['state'], $now['priority'], $now['max_attempts']]);
        self::assertGreaterThanOrEqual($before, $now['due_at']);
        self::assertLessThanOrEqual($before + 10_000, $now['due_at']);
        self::assertSame(['later', 'reports', 'delayed', 5, 3], [$later['payload'], $later['queue'], $later['state'], $later['priority'], $later['max_attempts']]);
        self::assertGreaterThanOrEqual($before + 60_000, $later['due_at']);
    }

    public function testIsAllOrNothing(): void
    {
        $path = Queue::create();
        Queue::open($path)->exec("CREATE TRIGGER refuse BEFORE INSERT ON fervo_jobs WHEN NEW.queue = 'bad' BEGIN SELECT RAISE(ABORT, 'refused'); END");
        $backend = new SqliteBackend($path, 5000);
        try {
            $backend->send(Queue::job('1'), Queue::job('2', 'bad'));
            self::fail();
        } catch (SendFailedException $failure) {
            self::assertCount(2, $failure->unsentJobs);
            self::assertStringContainsString('refused', $failure->getMessage());
        }
        self::assertSame([], Queue::rows($path));

        $backend->send(Queue::job('3'));
        self::assertSame(['3'], array_column(Queue::rows($path), 'payload'), 'it goes on afterwards');
    }

    public function testAMissingFileSaysWhatCreatesIt(): void
    {
        $path = Folder::create().'/none.sqlite';
        try {
            (new SqliteBackend($path, 5000))->send(Queue::job());
            self::fail();
        } catch (SendFailedException $failure) {
            self::assertStringContainsString('fervo-worker check', $failure->getMessage());
            self::assertStringContainsString($path, $failure->getMessage());
        }
        self::assertFileDoesNotExist($path);
    }

    /** As a developer who runs a command where the queue is the worker's. */
    public function testAFolderThatThisUserMayNotEnterIsNoMissingFile(): void
    {
        $path = Queue::create();
        $script = <<<'PHP'
            [, $autoload, $path] = $argv;
            require $autoload;
            $backend = new Fervo\DeferredEventBundle\Backend\SqliteBackend($path, 5000);
            $job = new Fervo\DeferredEventBundle\Backend\DeferredJob('x', 'mail', null, 0, null, 'e', 'E');
            // The code itself may be out of reach of another user.
            class_exists(Fervo\DeferredEventBundle\Exception\SendFailedException::class);
            posix_getuid() === 0 ? posix_setuid(65534) : chmod(dirname($path), 0600);
            try {
                $backend->send($job);
            } catch (Fervo\DeferredEventBundle\Exception\SendFailedException $failure) {
                echo $failure->getMessage();
            }
            PHP;
        $said = (string) shell_exec(implode(' ', array_map(escapeshellarg(...), [\PHP_BINARY, '-r', $script, '--', \dirname(__DIR__).'/autoload.php', $path])).' 2>&1');

        self::assertStringContainsString('this user may not enter the folder "'.\dirname($path).'"', $said);
    }

    public function testAnotherProgramsDatabaseIsRefused(): void
    {
        $path = Folder::create().'/other.sqlite';
        Queue::open($path)->exec('CREATE TABLE fervo_jobs (queue, payload, priority, due_at, max_attempts)');

        $this->expectException(SendFailedException::class);
        $this->expectExceptionMessage('not a queue of fervo-worker');

        (new SqliteBackend($path, 5000))->send(Queue::job());
    }

    public function testALockedDatabaseIsAFailureAfterTheTimeout(): void
    {
        $path = Queue::create();
        $other = Queue::open($path);
        $other->exec('BEGIN IMMEDIATE');

        $this->expectException(SendFailedException::class);
        $this->expectExceptionMessage('locked');

        (new SqliteBackend($path, 1))->send(Queue::job());
    }

    public function testAMessageForTheWorkerIsThePayload(): void
    {
        self::assertSame("\xff\0", (new SqliteBackend('/nowhere', 0))->message(Queue::job("\xff\0")));
    }
}
