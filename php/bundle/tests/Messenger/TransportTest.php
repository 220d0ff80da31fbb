<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Messenger;

use Fervo\DeferredEventBundle\Exception\InvalidOptionException;
use Fervo\DeferredEventBundle\Messenger\Transport;
use Fervo\DeferredEventBundle\Messenger\Transports;
use PHPUnit\Framework\TestCase;
use Symfony\Component\DependencyInjection\ServiceLocator;
use Symfony\Component\Messenger\Bridge\Doctrine\Transport\Connection;

final class TransportTest extends TestCase
{
    /**
     * @dataProvider transports
     *
     * @param array<string, mixed> $options
     * @param array<string, mixed> $facts
     */
    #[\PHPUnit\Framework\Attributes\DataProvider('transports')]
    public function testItsFacts(string $dsn, array $options, array $facts): void
    {
        $transport = new Transport('async', $dsn, $options + ['transport_name' => 'async']);

        $read = $transport->facts();
        ksort($facts);
        ksort($read);
        self::assertSame($facts, $read);
        self::assertSame($facts['kind'], $transport->kind());
        self::assertSame($options, $transport->options);
    }

    /** @return iterable<string, array{string, array<string, mixed>, array<string, mixed>}> */
    public static function transports(): iterable
    {
        $table = ['kind' => 'doctrine', 'connection' => 'default', 'table' => 'messenger_messages', 'queue_name' => 'default', 'redeliver_timeout_ms' => 3_600_000];
        yield 'doctrine' => ['doctrine://default', [], $table];
        yield 'doctrine, the DSN first' => ['doctrine://shop?queue_name=mail&auto_setup=0', ['queue_name' => 'other', 'table_name' => 'm', 'redeliver_timeout' => 60], ['connection' => 'shop', 'table' => 'm', 'queue_name' => 'mail', 'redeliver_timeout_ms' => 60_000] + $table];

        $stream = ['kind' => 'redis', 'address' => 'localhost:6379', 'stream' => 'messages', 'group' => 'symfony', 'db' => 0, 'redeliver_timeout_ms' => 3_600_000];
        yield 'redis' => ['redis://localhost:6379', [], $stream];
        yield 'redis, the path first' => ['rediss://ann:s3cret@localhost:6379/mail/workers/one?dbindex=3', ['stream' => 'other', 'redeliver_timeout' => 60], ['stream' => 'mail', 'group' => 'workers', 'db' => 3, 'redeliver_timeout_ms' => 60_000] + $stream];
        yield 'valkey' => ['valkey://localhost:6379', ['group' => 'g'], ['group' => 'g'] + $stream];
        yield 'redis, a socket' => ['redis:///run/redis.sock?stream=mail', [], ['address' => '/run/redis.sock', 'stream' => 'mail'] + $stream];
        yield 'redis, a cluster' => ['redis://a:1?dbindex=2,redis://u:p@b:2/mail', [], ['address' => 'a:1,b:2', 'stream' => 'mail', 'db' => 2] + $stream];

        yield 'beanstalkd' => ['beanstalkd://localhost', [], ['kind' => 'beanstalkd', 'address' => 'localhost:11300', 'tube' => 'default']];
        yield 'beanstalkd, the options first' => ['beanstalkd://localhost:1?tube_name=mail', ['tube_name' => 'other'], ['kind' => 'beanstalkd', 'address' => 'localhost:1', 'tube' => 'other']];

        foreach (['amqps://ann:s3cret@localhost/%2f' => 'amqp', 'https://sqs.eu-west-3.example.org/1/mail' => 'sqs', 'sync://' => 'sync', 'in-memory://' => 'in-memory', 'shop+x://' => 'shop+x', 'no DSN' => 'unknown'] as $dsn => $kind) {
            yield $dsn => [$dsn, [], ['kind' => $kind]];
        }
        yield 'fervo' => ['fervo://mail?attempts=3', [], ['kind' => 'fervo', 'queue' => 'mail']];
    }

    public function testNothingOfADsnThatIsNotValidIsTold(): void
    {
        foreach (['redis://:s3c?ret@localhost:6379/mail', 'redis://:s3c/ret@localhost', 'beanstalkd://'] as $dsn) {
            try {
                $facts = (new Transport('async', $dsn))->facts();
            } catch (InvalidOptionException $error) {
                $facts = ['error' => $error->getMessage()];
            }
            self::assertStringNotContainsString('s3c', (string) json_encode($facts));
            self::assertStringContainsString('"async"', $facts['error'] ?? '', $dsn);
        }
    }

    /** Where both are read by Symfony itself. */
    public function testADoctrineTransportIsReadAsSymfonyReadsIt(): void
    {
        if (!class_exists(Connection::class)) {
            self::assertFileDoesNotExist('/usr/share/php/Symfony/Component/Messenger/Bridge/Doctrine/autoload.php', 'it is in tests/packages');

            return;
        }
        foreach (['doctrine://default', 'doctrine://shop?queue_name=mail', 'doctrine://shop?table_name=t&redeliver_timeout=7'] as $dsn) {
            foreach ([[], ['queue_name' => 'other', 'redeliver_timeout' => 60]] as $options) {
                $symfony = Connection::buildConfiguration($dsn, $options);
                $facts = (new Transport('async', $dsn, $options))->facts();
                self::assertSame(
                    [$symfony['connection'], $symfony['table_name'], $symfony['queue_name'], 1000 * (int) $symfony['redeliver_timeout']],
                    [$facts['connection'], $facts['table'], $facts['queue_name'], $facts['redeliver_timeout_ms']],
                );
            }
        }
    }

    public function testALockIsSharedWhenAllMachinesSeeIt(): void
    {
        foreach ([
            'flock' => ['flock', false], 'flock:///var/lock' => ['flock', false], 'semaphore' => ['semaphore', false], 'in-memory' => ['in-memory', false],
            'redis://ann:s3cret@localhost' => ['redis', true], 'postgresql+advisory://localhost' => ['postgresql+advisory', true], '' => ['service', true],
        ] as $dsn => [$kind, $isShared]) {
            $locks = new ServiceLocator(['lock' => static fn (): \ArrayObject => new \ArrayObject([$dsn])]);
            self::assertSame(['kind' => $kind, 'shared' => $isShared], (new Transports(new ServiceLocator([]), $locks))->lock());
        }
        self::assertNull((new Transports(new ServiceLocator([]), new ServiceLocator([])))->lock());
    }
}
