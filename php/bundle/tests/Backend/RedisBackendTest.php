<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Backend;

use Fervo\DeferredEventBundle\Backend\RedisBackend;
use Fervo\DeferredEventBundle\Exception\SendFailedException;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use Fervo\DeferredEventBundle\Tests\Support\Server;
use PHPUnit\Framework\TestCase;

final class RedisBackendTest extends TestCase
{
    private static ?Server $server = null;
    private \Redis $redis;

    public static function setUpBeforeClass(): void
    {
        self::$server = Server::redis();
    }

    public static function tearDownAfterClass(): void
    {
        self::$server = null;
    }

    protected function setUp(): void
    {
        $this->redis = self::connect(self::$server);
        $this->redis->flushAll();
    }

    /** @return iterable<string, array{string}> */
    public static function clients(): iterable
    {
        yield 'phpredis' => ['phpredis'];
        yield 'predis' => ['predis'];
    }

    /** @dataProvider clients */
    #[\PHPUnit\Framework\Attributes\DataProvider('clients')]
    public function testWritesSidekiqsJobs(string $client): void
    {
        $this->backend($client)->send(Queue::job("line\n{\"ä\":1}", 'mail'), Queue::job('second', 'mail', attempts: 3), Queue::job('other'));

        self::assertEqualsCanonicalizing(['mail', 'default'], $this->redis->sMembers('queues'));
        // As Sidekiq takes them: from the right.
        $raw = $this->redis->rPop('queue:mail');
        $job = json_decode($raw, true);
        self::assertSame(['DeferEvent', ["line\n{\"ä\":1}"], true, 'mail'], [$job['class'], $job['args'], $job['retry'], $job['queue']]);
        self::assertSame(1, preg_match('/^[0-9a-f]{24}$/D', $job['jid']));
        self::assertSame(1, preg_match('/"created_at":\d{10}\.\d{1,3},"enqueued_at":\d{10}\.\d{1,3}[,}]/', $raw));
        self::assertEqualsWithDelta(microtime(true), $job['enqueued_at'], 60);

        $second = json_decode($this->redis->rPop('queue:mail'), true);
        self::assertSame([['second'], 2], [$second['args'], $second['retry']]);
        self::assertNotSame($job['jid'], $second['jid']);
        self::assertSame(1, $this->redis->lLen('queue:default'));
    }

    /** @dataProvider clients */
    #[\PHPUnit\Framework\Attributes\DataProvider('clients')]
    public function testADelayGoesToTheSchedule(string $client): void
    {
        $job = Queue::job('later', 'mail', delayMs: 90_000);
        $this->backend($client)->send($job);

        self::assertSame(0, $this->redis->exists('queue:mail'));
        [$raw, $score] = [$this->redis->zRange('schedule', 0, -1)[0], array_values($this->redis->zRange('schedule', 0, -1, true))[0]];
        self::assertEqualsWithDelta($job->notBeforeMs / 1000, $score, 0.001);
        $fields = json_decode($raw, true);
        self::assertSame('mail', $fields['queue']);
        self::assertArrayNotHasKey('enqueued_at', $fields);
        self::assertArrayNotHasKey('at', $fields);
    }

    /** @dataProvider clients */
    #[\PHPUnit\Framework\Attributes\DataProvider('clients')]
    public function testPrefixAndDatabase(string $client): void
    {
        $this->backend($client, '?db=3', 'ns:')->send(Queue::job(), Queue::job(delayMs: 60_000));

        self::assertSame(0, $this->redis->dbSize());
        $this->redis->select(3);
        $keys = $this->redis->keys('*');
        sort($keys);
        self::assertSame(['ns:queue:default', 'ns:queues', 'ns:schedule'], $keys);
    }

    /** @dataProvider clients */
    #[\PHPUnit\Framework\Attributes\DataProvider('clients')]
    public function testAKeyOfAnotherTypeFailsAndIsTold(string $client): void
    {
        $this->redis->set('queue:default', 'text');

        $this->expectException(SendFailedException::class);
        $this->expectExceptionMessage('WRONGTYPE');

        $this->backend($client)->send(Queue::job());
    }

    /** @dataProvider clients */
    #[\PHPUnit\Framework\Attributes\DataProvider('clients')]
    public function testARefusalAsItIsQueuedLeavesNothing(string $client): void
    {
        $server = Server::redis(['--maxmemory', '1', '--maxmemory-policy', 'noeviction']);
        try {
            $this->backend($client, server: $server)->send(Queue::job());
            self::fail();
        } catch (SendFailedException $failure) {
            self::assertMatchesRegularExpression('/OOM|EXECABORT/', $failure->getMessage());
            self::assertCount(1, $failure->unsentJobs);
        }
        self::assertSame(0, self::connect($server)->dbSize());
    }

    /** @dataProvider clients */
    #[\PHPUnit\Framework\Attributes\DataProvider('clients')]
    public function testUserAndPassword(string $client): void
    {
        $server = Server::redis(['--user', 'app', 'on', '>p@ss/word', '~*', '+@all', '--user', 'default', 'off']);
        $redis = new \Redis();
        $redis->connect($server->folder.'/socket');
        $redis->auth(['app', 'p@ss/word']);

        // parse_url() takes user and password of a socket's address, too.
        $backend = new RedisBackend('unix://app:p%40ss%2Fword@'.$server->folder.'/socket', '', $client, 2000);
        $backend->send(Queue::job());
        self::assertSame(1, $redis->lLen('queue:default'));

        try {
            (new RedisBackend('unix://app:wrong-secret@'.$server->folder.'/socket', '', $client, 2000))->send(Queue::job());
            self::fail();
        } catch (SendFailedException $failure) {
            self::assertStringContainsString('WRONGPASS', $failure->getMessage());
            self::assertStringNotContainsString('wrong-secret', (string) $failure);
        }
    }

    /** @dataProvider clients */
    #[\PHPUnit\Framework\Attributes\DataProvider('clients')]
    public function testAnUnreachableServerIsNamedWithoutItsPassword(string $client): void
    {
        $port = Server::freePort();
        try {
            (new RedisBackend("redis://:hunter2@127.0.0.1:$port/1", '', $client, 2000))->send(Queue::job());
            self::fail();
        } catch (SendFailedException $failure) {
            self::assertStringContainsString("127.0.0.1:$port", $failure->getMessage());
            self::assertStringContainsStringIgnoringCase('refused', $failure->getMessage());
            self::assertStringNotContainsString('hunter2', $failure->getMessage());
        }
    }

    /** @dataProvider clients */
    #[\PHPUnit\Framework\Attributes\DataProvider('clients')]
    public function testALostConnectionIsAFailureAndTheNextSendConnectsAnew(string $client): void
    {
        $backend = $this->backend($client);
        $backend->send(Queue::job('1'));
        $this->redis->rawCommand('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
        try {
            $backend->send(Queue::job('2'));
            self::fail();
        } catch (SendFailedException $failure) {
            self::assertCount(1, $failure->unsentJobs);
        }
        $backend->send(Queue::job('3'));

        self::assertSame(2, $this->redis->lLen('queue:default'));
    }

    public function testAWrongDsnIsNotTold(): void
    {
        try {
            (new RedisBackend('http://:hunter2@localhost', '', 'auto', 2000))->send(Queue::job());
            self::fail();
        } catch (SendFailedException $failure) {
            self::assertStringContainsString('"dsn"', $failure->getMessage());
            self::assertStringNotContainsString('hunter2', $failure->getMessage());
        }
    }

    /** The worker puts it into the place of another job, and writes the times and the queue itself. */
    public function testAMessageForTheWorkerIsTheJobThatItWouldSend(): void
    {
        $backend = $this->backend('phpredis');
        $job = Queue::job("line\n", 'mail', attempts: 3);
        $backend->send($job);
        [$sent, $message] = [json_decode($this->redis->rPop('queue:mail'), true), json_decode($backend->message($job), true)];
        foreach (['jid', 'created_at', 'enqueued_at'] as $own) {
            self::assertArrayHasKey($own, $message);
            unset($sent[$own], $message[$own]);
        }
        self::assertSame($sent, $message);
        self::assertArrayNotHasKey('enqueued_at', json_decode($backend->message(Queue::job(delayMs: 5_000)), true));
    }

    private function backend(string $client, string $options = '', string $prefix = '', ?Server $server = null): RedisBackend
    {
        return new RedisBackend('unix://'.($server ?? self::$server)->folder.'/socket'.$options, $prefix, $client, 2000);
    }

    private static function connect(Server $server): \Redis
    {
        $redis = new \Redis();
        $redis->connect($server->folder.'/socket');

        return $redis;
    }
}
