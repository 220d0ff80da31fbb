<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Doctrine;

use Doctrine\DBAL\Configuration;
use Doctrine\DBAL\Connection;
use Doctrine\DBAL\DriverManager;
use Fervo\DeferredEventBundle\Backend\BackendInterface;
use Fervo\DeferredEventBundle\Backend\DeferredJob;
use Fervo\DeferredEventBundle\Doctrine\OutboxTable;
use Fervo\DeferredEventBundle\Exception\SendFailedException;
use Fervo\DeferredEventBundle\Tests\Fixtures\FakeBackend;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use Fervo\DeferredEventBundle\Tests\Support\Server;
use Fervo\DeferredEventBundle\Worker\Relay;
use PHPUnit\Framework\TestCase;

/** `send: transactional` on real databases. */
final class OutboxTableTest extends TestCase
{
    private const TABLE = 'fervo_outbox';

    /** @var array<string, array<string, mixed>> */
    private static array $params = [];

    /** @var list<Server> */
    private static array $servers = [];

    public static function setUpBeforeClass(): void
    {
        self::$servers = [$postgresql = Server::postgresql(), $mariadb = Server::mariadb()];
        self::$params = [
            'sqlite' => ['driver' => 'pdo_sqlite', 'path' => Folder::create().'/app.sqlite'],
            'postgresql' => ['driver' => 'pdo_pgsql', 'host' => $postgresql->folder, 'user' => 'test', 'dbname' => 'test'],
            'mariadb' => ['driver' => 'pdo_mysql', 'unix_socket' => $mariadb->folder.'/socket', 'user' => 'test', 'dbname' => 'test', 'charset' => 'utf8mb4'],
        ];
    }

    public static function tearDownAfterClass(): void
    {
        self::$servers = [];
    }

    /** @return iterable<array{string}> */
    public static function databases(): iterable
    {
        yield 'sqlite' => ['sqlite'];
        yield 'postgresql' => ['postgresql'];
        yield 'mariadb' => ['mariadb'];
    }

    /** @dataProvider databases */
    #[\PHPUnit\Framework\Attributes\DataProvider('databases')]
    public function testAnEventIsThereIfAndOnlyIfItsTransactionWasCommitted(string $database): void
    {
        [$connection, $table] = $this->table($database);
        $connection->transactional(static fn () => $table->add(Queue::job('committed')));
        $connection->beginTransaction();
        $table->add(Queue::job('rolled back'));
        $connection->rollBack();
        $table->add(Queue::job('outside'));
        $connection->beginTransaction();
        $table->add(Queue::job('open'));

        [, $other] = $this->table($database);
        if ('sqlite' === $database) {
            // Nobody else can write there meanwhile, and the relay does.
            $connection->rollBack();
        }
        $backend = new FakeBackend();
        self::assertSame(2, (new Relay($other, $backend))->run());
        self::assertSame([['committed', 'outside']], $backend->calls);
        if ('sqlite' !== $database) {
            $connection->commit();
            self::assertSame(1, (new Relay($other, $backend))->run());
        }
        self::assertSame(0, $table->count());
    }

    /** @dataProvider databases */
    #[\PHPUnit\Framework\Attributes\DataProvider('databases')]
    public function testAJobTravelsAsAWhole(string $database): void
    {
        [, $table] = $this->table($database);
        $jobs = [
            new DeferredJob(str_repeat('é🎉', 30_000), 'mail', 1_700_000_000_000, -5, 3, 'foo.action', 'App\Foo', 'service::method'),
            new DeferredJob('p', 'default', null, 0, null, 'foo', 'App\Foo'),
        ];
        foreach ($jobs as $job) {
            $table->add($job);
        }
        $backend = new class implements BackendInterface {
            /** @var list<DeferredJob> */
            public array $jobs = [];

            public function send(DeferredJob ...$jobs): void
            {
                array_push($this->jobs, ...$jobs);
            }
        };
        $table->relay($backend, 10);

        self::assertEquals($jobs, $backend->jobs);
    }

    /** @dataProvider databases */
    #[\PHPUnit\Framework\Attributes\DataProvider('databases')]
    public function testWhatTheQueueRefusesStays(string $database): void
    {
        [, $table] = $this->table($database);
        foreach (['1', '2', '3'] as $payload) {
            $table->add(Queue::job($payload));
        }
        $backend = new FakeBackend(failures: 1, refused: ['2']);
        $step = $table->relay($backend, 10);
        self::assertSame([3, 2, 'away'], [$step->taken, $step->moved, $step->failure?->getMessage()]);
        self::assertSame(1, $table->count());
        self::assertSame(1, $table->relay($backend, 10)->moved);
        self::assertSame([['1', '2', '3'], ['2']], $backend->calls);
    }

    /** @dataProvider databases */
    #[\PHPUnit\Framework\Attributes\DataProvider('databases')]
    public function testARelayThatDiesBetweenSendingAndDeletingLosesNothing(string $database): void
    {
        [, $table] = $this->table($database);
        $table->add(Queue::job('1'));
        $dying = new class implements BackendInterface {
            public function send(DeferredJob ...$jobs): void
            {
                throw new \Error('dies here, and the queue has it');
            }
        };
        try {
            $table->relay($dying, 10);
        } catch (\Error) {
        }
        $backend = new FakeBackend();
        $table->relay($backend, 10);

        self::assertSame([['1']], $backend->calls);
    }

    /**
     * SQLite has one writer at a time: there the other one waits.
     *
     * @testWith ["postgresql"]
     *           ["mariadb"]
     */
    #[\PHPUnit\Framework\Attributes\TestWith(['postgresql'])]
    #[\PHPUnit\Framework\Attributes\TestWith(['mariadb'])]
    public function testTwoRelaysShareTheEvents(string $database): void
    {
        [, $table] = $this->table($database);
        [, $other] = $this->table($database);
        foreach (['1', '2', '3'] as $payload) {
            $table->add(Queue::job($payload));
        }
        $second = new FakeBackend();
        $first = new class($other, $second) implements BackendInterface {
            /** @var list<string> */
            public array $payloads = [];

            public function __construct(private readonly OutboxTable $other, private readonly BackendInterface $second)
            {
            }

            public function send(DeferredJob ...$jobs): void
            {
                $this->payloads = array_map(static fn (DeferredJob $job): string => $job->payload, $jobs);
                // While the first has them.
                $this->other->relay($this->second, 2);
            }
        };
        $table->relay($first, 2);

        self::assertSame(['1', '2'], $first->payloads);
        self::assertSame([['3']], $second->calls);
        self::assertSame(0, $table->count());
    }

    public function testMoreThanFitsOneTransaction(): void
    {
        [$connection, $table] = $this->table('sqlite');
        $connection->transactional(static function () use ($table): void {
            for ($i = 0; $i < 250; ++$i) {
                $table->add(Queue::job((string) $i));
            }
        });
        $backend = new FakeBackend();

        self::assertSame(250, (new Relay($table, $backend))->run());
        self::assertSame(array_map('strval', range(0, 249)), array_merge(...$backend->calls));
    }

    /**
     * As many as fill a whole transaction of the relay, such as events that are too big for the queue.
     *
     * @dataProvider databases
     */
    #[\PHPUnit\Framework\Attributes\DataProvider('databases')]
    public function testNobodyWaitsBehindWhatTheQueueRefuses(string $database): void
    {
        [$connection, $table] = $this->table($database);
        $connection->transactional(static function () use ($table): void {
            foreach ([...array_fill(0, 120, 'refused'), 'first', 'refused', 'second'] as $payload) {
                $table->add(Queue::job($payload));
            }
        });
        $backend = new class implements BackendInterface {
            /** @var list<string> */
            public array $taken = [];

            public function send(DeferredJob ...$jobs): void
            {
                $refused = array_values(array_filter($jobs, static fn (DeferredJob $job): bool => 'refused' === $job->payload));
                array_push($this->taken, ...array_diff(array_map(static fn (DeferredJob $job): string => $job->payload, $jobs), ['refused']));
                if ([] !== $refused) {
                    throw new SendFailedException('too big', $refused, null, true);
                }
            }
        };
        try {
            (new Relay($table, $backend))->run();
            self::fail('Somebody has to be told.');
        } catch (SendFailedException $failure) {
            self::assertSame('too big', $failure->getMessage());
        }
        self::assertSame([['first', 'second'], 121], [$backend->taken, $table->count()]);
        $connection->executeStatement('DELETE FROM '.self::TABLE);
    }

    public function testAQueueThatIsAwayIsAskedOnce(): void
    {
        [$connection, $table] = $this->table('sqlite');
        $connection->transactional(static function () use ($table): void {
            for ($i = 0; $i < 250; ++$i) {
                $table->add(Queue::job((string) $i));
            }
        });
        $backend = new FakeBackend(failures: \PHP_INT_MAX);
        try {
            (new Relay($table, $backend))->run();
            self::fail('It is away.');
        } catch (SendFailedException) {
        }
        self::assertSame([1, 250], [\count($backend->calls), $table->count()]);
        $connection->executeStatement('DELETE FROM '.self::TABLE);
    }

    /** A hundred of them do not fit into the memory that PHP-FPM gives the relay. */
    public function testBigEventsAreMovedAFewAtATime(): void
    {
        [, $table] = $this->table('sqlite');
        foreach ([5, 2, 4, 9, 1] as $mebibytes) {
            $table->add(Queue::job(str_repeat((string) $mebibytes, $mebibytes << 20)));
        }
        $backend = new class implements BackendInterface {
            /** @var list<list<string>> */
            public array $calls = [];

            public function send(DeferredJob ...$jobs): void
            {
                $this->calls[] = array_map(static fn (DeferredJob $job): string => $job->payload[0], $jobs);
            }
        };

        self::assertSame(5, (new Relay($table, $backend))->run());
        self::assertSame([['5', '2'], ['4'], ['9'], ['1']], $backend->calls);
    }

    /**
     * There, DBAL has a transaction open from the start.
     *
     * @dataProvider databases
     */
    #[\PHPUnit\Framework\Attributes\DataProvider('databases')]
    public function testOfAConnectionWithoutAutoCommitEachEventIsMovedOnce(string $database): void
    {
        [, $table] = $this->table($database);
        $table->add(Queue::job('1'));
        $configuration = new Configuration();
        $configuration->setAutoCommit(false);
        $backend = new FakeBackend(failures: 1);
        for ($i = 0; $i < 3; ++$i) {
            $connection = DriverManager::getConnection(self::$params[$database], $configuration);
            try {
                (new Relay(new OutboxTable(static fn (): Connection => $connection, self::TABLE), $backend))->run();
            } catch (SendFailedException) {
            }
            $connection->close();
        }

        self::assertSame([['1'], ['1']], $backend->calls, 'once when it was away');
        self::assertSame(0, $table->count());
    }

    public function testTheTableIsMadeOnce(): void
    {
        [$connection, $table] = $this->table('sqlite');
        $table->add(Queue::job('1'));
        $table->create();

        self::assertSame(1, $table->count());
        self::assertTrue($table->isOn($connection));
    }

    /** @return array{Connection, OutboxTable} */
    private function table(string $database): array
    {
        $connection = DriverManager::getConnection(self::$params[$database]);
        $table = new OutboxTable(static fn (): Connection => $connection, self::TABLE);
        $table->create();

        return [$connection, $table];
    }
}
