<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Backend;

use Fervo\DeferredEventBundle\Backend\BeanstalkdBackend;
use Fervo\DeferredEventBundle\Exception\SendFailedException;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use Fervo\DeferredEventBundle\Tests\Support\Server;
use PHPUnit\Framework\TestCase;

final class BeanstalkdBackendTest extends TestCase
{
    private static ?Server $server = null;

    public static function setUpBeforeClass(): void
    {
        self::$server = Server::beanstalkd();
    }

    public static function tearDownAfterClass(): void
    {
        self::$server = null;
    }

    public function testPutsEnvelopes(): void
    {
        $this->backend()->send(Queue::job("a\nä", 'envelopes', priority: 5, attempts: 3), Queue::job('2', 'envelopes-other'));

        [$id, $message] = $this->reserve('envelopes');
        $envelope = json_decode($message, true);
        self::assertSame([1, "a\nä", 3], [$envelope['fervo'], $envelope['payload'], $envelope['attempts']]);
        self::assertSame(1, preg_match('/^[0-9a-f]{24}$/D', $envelope['id']));
        self::assertEqualsWithDelta(microtime(true) * 1000, $envelope['enqueued_at'], 60_000);
        $stats = $this->ask("stats-job $id");
        self::assertStringContainsString('pri: 1019', $stats);
        self::assertStringContainsString('ttr: 60', $stats);
        self::assertSame('2', json_decode($this->reserve('envelopes-other')[1], true)['payload']);
    }

    public function testADelayIsRoundedUpToSeconds(): void
    {
        $this->backend()->send(Queue::job(queue: 'delayed', delayMs: 59_990));

        self::assertStringContainsString('current-jobs-delayed: 1', $this->ask('stats-tube delayed'));
        self::assertMatchesRegularExpression('/delay: 60\b/', $this->ask('stats-job '.$this->lastId()));
    }

    public function testTooBigAJobIsToldAndTheOthersAreSent(): void
    {
        $backend = $this->backend();
        try {
            $backend->send(Queue::job('1', 'big'), Queue::job(str_repeat('x', 70_000), 'big'), Queue::job('3', 'big'));
            self::fail();
        } catch (SendFailedException $failure) {
            self::assertMatchesRegularExpression('/JOB_TOO_BIG: the event is 70\d\d\d bytes/', $failure->getMessage());
            self::assertTrue($failure->isRefusal);
            self::assertCount(1, $failure->unsentJobs);
            self::assertSame(70_000, \strlen($failure->unsentJobs[0]->payload));
        }
        $backend->send(Queue::job('4', 'big'));

        self::assertStringContainsString('current-jobs-ready: 3', $this->ask('stats-tube big'));
    }

    public function testAQueueThatCannotBeATubeIsToldAndTheOthersAreSent(): void
    {
        try {
            $this->backend()->send(Queue::job('1', 'names'), Queue::job('2', 'na:mes'), Queue::job('3', 'names'));
            self::fail();
        } catch (SendFailedException $failure) {
            self::assertStringContainsString('the queue "na:mes" is no name of a tube', $failure->getMessage());
            self::assertSame(['2', true], [$failure->unsentJobs[0]->payload, $failure->isRefusal]);
            self::assertCount(1, $failure->unsentJobs);
        }
        self::assertStringContainsString('current-jobs-ready: 2', $this->ask('stats-tube names'));
    }

    public function testAnUnreachableServerIsNamed(): void
    {
        $port = Server::freePort();

        $this->expectException(SendFailedException::class);
        $this->expectExceptionMessage("beanstalkd at 127.0.0.1:$port: connection refused");

        (new BeanstalkdBackend("beanstalkd://127.0.0.1:$port", 60_000, 2000))->send(Queue::job());
    }

    public function testAQueueThatIsNoTube(): void
    {
        $this->expectException(SendFailedException::class);
        $this->expectExceptionMessage('has no ":"');

        $this->backend()->send(Queue::job(queue: 'a:b'));
    }

    public function testAServerThatSaysNothing(): void
    {
        $silent = stream_socket_server('tcp://127.0.0.1:0');

        $this->expectException(SendFailedException::class);
        $this->expectExceptionMessage('does not answer in time');

        (new BeanstalkdBackend('beanstalkd://'.stream_socket_get_name($silent, false), 60_000, 50))->send(Queue::job());
    }

    public function testAMessageForTheWorkerIsTheEnvelope(): void
    {
        $message = json_decode((new BeanstalkdBackend('beanstalkd://nowhere', 60_000, 1))->message(Queue::job('payload', attempts: 3)), true);

        self::assertSame([1, 'payload', 3], [$message['fervo'], $message['payload'], $message['attempts']]);
        self::assertSame(['fervo', 'payload', 'id', 'enqueued_at', 'attempts'], array_keys($message));
    }

    private function backend(): BeanstalkdBackend
    {
        return new BeanstalkdBackend('beanstalkd://127.0.0.1:'.self::$server->port(), 60_000, 2000);
    }

    /** @return array{string, string} id and message */
    private function reserve(string $tube): array
    {
        $stream = stream_socket_client(self::$server->address);
        fwrite($stream, "watch $tube\r\nignore default\r\nreserve-with-timeout 5\r\n");
        fgets($stream);
        fgets($stream);
        [, $id, $bytes] = explode(' ', trim(fgets($stream)));
        $message = stream_get_contents($stream, (int) $bytes);
        fclose($stream);

        return [$id, $message];
    }

    private function ask(string $command): string
    {
        $stream = stream_socket_client(self::$server->address);
        fwrite($stream, "$command\r\nquit\r\n");

        return stream_get_contents($stream);
    }

    /** Ids are counted up from 1. */
    private function lastId(): int
    {
        preg_match('/total-jobs: (\d+)/', $this->ask('stats'), $match);

        return (int) $match[1];
    }
}
