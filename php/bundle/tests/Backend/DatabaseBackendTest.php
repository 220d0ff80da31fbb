<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Backend;

use Doctrine\DBAL\Connection;
use Doctrine\DBAL\DriverManager;
use Fervo\DeferredEventBundle\Backend\DatabaseBackend;
use Fervo\DeferredEventBundle\Exception\SendFailedException;
use Fervo\DeferredEventBundle\Tests\Support\Database;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use Fervo\DeferredEventBundle\Tests\Support\Server;
use PHPUnit\Framework\TestCase;

/** The backends `postgres` and `mysql`, over PDO and each driver of DBAL. */
final class DatabaseBackendTest extends TestCase
{
    /** @var array<string, Server> */
    private static array $servers = [];

    private Database $database;

    public static function setUpBeforeClass(): void
    {
        self::$servers = ['postgres' => Server::postgresql(), 'mysql' => Server::mariadb()];
    }

    public static function tearDownAfterClass(): void
    {
        self::$servers = [];
    }

    /** @return iterable<string, array{string, string}> */
    public static function connections(): iterable
    {
        foreach (['postgres' => ['pdo', 'emulated', 'pdo_pgsql', 'pgsql'], 'mysql' => ['pdo', 'emulated', 'pdo_mysql', 'mysqli']] as $type => $ways) {
            foreach ($ways as $way) {
                yield "$type by $way" => [$type, $way];
            }
        }
    }

    /** @return iterable<string, array{string}> */
    public static function types(): iterable
    {
        yield 'postgres' => ['postgres'];
        yield 'mysql' => ['mysql'];
    }

    /** @dataProvider connections */
    #[\PHPUnit\Framework\Attributes\DataProvider('connections')]
    public function testInsertsWhatTheWorkerReads(string $type, string $way): void
    {
        $backend = $this->backend($type, $this->connect($type, $way));
        $nasty = "\0A\xFF\xFE\x80\xC3\x28\\'\"".implode('', array_map(\chr(...), range(0, 255)));
        $before = (int) (microtime(true) * 1000);
        $backend->send(Queue::job("line\n{\"ä\":1}", 'mail'));
        $backend->send(Queue::job($nasty, 'reports', delayMs: 3_600_000, priority: -5, attempts: 3), Queue::job('', unique: 'ключ '));
        $after = (int) (microtime(true) * 1000);

        [$now, $later, $empty] = $this->database->rows();
        self::assertSame(["line\n{\"ä\":1}", 'mail', 'ready'], [$now['payload'], $now['queue'], $now['state']]);
        self::assertEquals([0, null, null], [$now['priority'], $now['max_attempts'], $now['unique_key']]);
        self::assertSame([$nasty, 'reports'], [$later['payload'], $later['queue']]);
        self::assertEquals([-5, 3], [$later['priority'], $later['max_attempts']]);
        self::assertSame(['', 'ключ '], [$empty['payload'], $empty['unique_key']]);
        // The same machine, so the server's clock is that of PHP.
        foreach ([[$now, 0], [$later, 3_600_000]] as [$row, $delayMs]) {
            self::assertGreaterThanOrEqual($before - 1, $row['due_at'] - $delayMs);
            self::assertLessThanOrEqual($after + 1, $row['due_at'] - $delayMs);
        }
    }

    /** @dataProvider connections */
    #[\PHPUnit\Framework\Attributes\DataProvider('connections')]
    public function testAJobIsPartOfTheTransaction(string $type, string $way): void
    {
        $connection = $this->connect($type, $way);
        $backend = $this->backend($type, $connection);
        $connection->beginTransaction();
        $backend->send(Queue::job('committed'));
        $this->execute($connection, 'SAVEPOINT a');
        $backend->send(Queue::job('undone'), Queue::job('undone, too'));
        $this->execute($connection, 'ROLLBACK TO SAVEPOINT a');
        $backend->send(Queue::job('committed, too'));
        $this->execute($connection, 'RELEASE SAVEPOINT a');
        self::assertSame([], $this->database->payloads());
        $connection->commit();
        $connection->beginTransaction();
        $backend->send(Queue::job('rolled back'));
        $connection->rollBack();

        self::assertSame(['committed', 'committed, too'], $this->database->payloads());
    }

    /** @dataProvider connections */
    #[\PHPUnit\Framework\Attributes\DataProvider('connections')]
    public function testJobsOfACallAreAllOrNothing(string $type, string $way): void
    {
        $connection = $this->connect($type, $way);
        $backend = $this->backend($type, $connection);
        $jobs = [Queue::job('secret 1'), Queue::job('secret 2', 'refused')];
        $unsent = $this->failure($backend, ...$jobs);
        self::assertSame($jobs, $unsent->unsentJobs);
        self::assertStringNotContainsString('secret', $unsent->getMessage());
        self::assertStringNotContainsString(bin2hex('secret'), $unsent->getMessage());
        $connection->beginTransaction();
        $this->failure($backend, ...$jobs);
        $connection->rollBack();
        $backend->send(Queue::job('3'));

        self::assertSame(['3'], $this->database->payloads());
    }

    /** @dataProvider connections */
    #[\PHPUnit\Framework\Attributes\DataProvider('connections')]
    public function testAUniqueKeyIsOneJobInTheQueue(string $type, string $way): void
    {
        $backend = $this->backend($type, $this->connect($type, $way));
        $backend->send(Queue::job('1', unique: 'k'), Queue::job('2', unique: 'k'), Queue::job('3', unique: 'K'));
        $backend->send(Queue::job('4', unique: 'k'));
        $backend->send(Queue::job('5', 'other', unique: 'k'));
        $backend->send(Queue::job('6'), Queue::job('7'));
        // What another reason refuses is still told.
        self::assertStringContainsString('refused', $this->failure($backend, Queue::job('8', 'refused', unique: 'k'))->getMessage());

        self::assertSame(['1', '3', '5', '6', '7'], $this->database->payloads());
    }

    /** @dataProvider types */
    #[\PHPUnit\Framework\Attributes\DataProvider('types')]
    public function testAKeyOfAnotherTransactionIsTakenOnceThatIsCommitted(string $type): void
    {
        $one = $this->connect($type, 'pdo');
        $other = $this->database->pdo();
        $other->exec('postgres' === $type ? "SET lock_timeout = '10ms'" : 'SET innodb_lock_wait_timeout = 1');
        foreach (['rollBack', 'commit'] as $end) {
            $one->beginTransaction();
            $this->backend($type, $one)->send(Queue::job("one, $end", unique: $end));
            self::assertMatchesRegularExpression('/lock timeout|Lock wait timeout/', $this->failure($this->backend($type, $other), Queue::job('too early', unique: $end))->getMessage());
            $one->$end();
            $this->backend($type, $other)->send(Queue::job("other, $end", unique: $end));
        }

        self::assertSame(['other, rollBack', 'one, commit'], $this->database->payloads());
    }

    /** @dataProvider connections */
    #[\PHPUnit\Framework\Attributes\DataProvider('connections')]
    public function testManyJobsAndLargeOnesAreSeveralStatements(string $type, string $way): void
    {
        $backend = $this->backend($type, $this->connect($type, $way));
        $large = str_repeat("\\'\0", 1 << 20);
        $backend->send(Queue::job('first'), Queue::job($large), Queue::job($large), ...array_map(static fn (int $i): mixed => Queue::job((string) $i), range(1, 1_001)));

        $payloads = $this->database->payloads();
        self::assertTrue(['first', $large, $large] === \array_slice($payloads, 0, 3));
        self::assertEquals(range(1, 1_001), \array_slice($payloads, 3));
    }

    /** @dataProvider types */
    #[\PHPUnit\Framework\Attributes\DataProvider('types')]
    public function testTheServersClockCounts(string $type): void
    {
        $connection = $this->connect($type, 'pdo');
        if ('mysql' === $type) {
            // A session of the server has the time that it is told; both are 02:30 in that zone.
            self::addTimeZone($this->database->pdo());
            foreach ([1_792_888_200, 1_792_891_800] as $at => $second) {
                $connection->exec("SET time_zone = 'Europe/Berlin', timestamp = $second.25");
                $this->backend($type, $connection)->send(Queue::job(delayMs: 1_000));
                self::assertEqualsWithDelta($second * 1_000 + 1_250, $this->database->rows()[$at]['due_at'], 5);
            }

            return;
        }
        $connection->exec("SET TIME ZONE 'Asia/Kathmandu'");
        $connection->beginTransaction();
        $this->backend($type, $connection)->send(Queue::job());
        $now = (int) $connection->query('SELECT EXTRACT(EPOCH FROM clock_timestamp()) * 1000')->fetchColumn();
        $connection->commit();
        self::assertEqualsWithDelta($now, $this->database->rows()[0]['due_at'], 5_000);
    }

    /** @dataProvider connections */
    #[\PHPUnit\Framework\Attributes\DataProvider('connections')]
    public function testAMissingTableSaysWhatCreatesIt(string $type, string $way): void
    {
        $backend = new DatabaseBackend($type, fn (): object => $this->connect($type, $way), 'other_');

        $failure = $this->failure($backend, Queue::job());
        self::assertStringContainsString('the table "other_jobs": there is no such table', $failure->getMessage());
        self::assertStringContainsString('fervo-worker schema', $failure->getMessage());
    }

    /**
     * @testWith ["mysql", "pdo", "postgres", "PostgreSQL"]
     *           ["mysql", "pgsql", "postgres", "PostgreSQL"]
     *           ["postgres", "pdo_mysql", "mysql", "MySQL or MariaDB"]
     *           ["postgres", "mysqli", "mysql", "MySQL or MariaDB"]
     */
    #[\PHPUnit\Framework\Attributes\TestWith(['mysql', 'pdo', 'postgres', 'PostgreSQL'])]
    #[\PHPUnit\Framework\Attributes\TestWith(['mysql', 'pgsql', 'postgres', 'PostgreSQL'])]
    #[\PHPUnit\Framework\Attributes\TestWith(['postgres', 'pdo_mysql', 'mysql', 'MySQL or MariaDB'])]
    #[\PHPUnit\Framework\Attributes\TestWith(['postgres', 'mysqli', 'mysql', 'MySQL or MariaDB'])]
    public function testAConnectionToAnotherServer(string $backend, string $way, string $type, string $server): void
    {
        $failure = $this->failure($this->backend($backend, $this->connect($type, $way)), Queue::job());

        self::assertStringContainsString("the connection is one to $server, and the backend is \"$backend\"", $failure->getMessage());
    }

    public function testAServerThatCannotBeReached(): void
    {
        $gone = static fn (): object => DriverManager::getConnection(['driver' => 'pdo_pgsql', 'host' => '/nowhere', 'user' => 'test', 'dbname' => 'test', 'password' => 'hunter2']);
        $failure = $this->failure(new DatabaseBackend('postgres', $gone, 'fervo_'), Queue::job());

        self::assertStringContainsString('/nowhere', $failure->getMessage());
        self::assertStringNotContainsString('hunter2', $failure->getMessage());
    }

    public function testAServiceThatIsNoConnection(): void
    {
        $this->expectException(SendFailedException::class);
        $this->expectExceptionMessage('a service of the class "ArrayObject", which is neither a connection of DBAL nor PDO');

        $this->backend('postgres', new \ArrayObject())->send(Queue::job());
    }

    /**
     * As the README names them.
     *
     * @testWith ["postgres", "SELECT"]
     *           ["mysql", "SELECT, UPDATE"]
     */
    #[\PHPUnit\Framework\Attributes\TestWith(['postgres', 'SELECT'])]
    #[\PHPUnit\Framework\Attributes\TestWith(['mysql', 'SELECT, UPDATE'])]
    public function testTheRightsOfTheApplication(string $type, string $more): void
    {
        $administrator = $this->connect($type, 'pdo');
        $user = 'postgres' === $type ? 'shop' : 'shop@localhost';
        $administrator->exec("CREATE USER $user");
        $administrator->exec("GRANT INSERT ON fervo_jobs TO $user");
        $this->backend($type, $this->database->pdo([], 'shop'))->send(Queue::job('1'));
        self::assertStringContainsString('denied', $this->failure($this->backend($type, $this->database->pdo([], 'shop')), Queue::job('2', unique: 'k'))->getMessage());
        $administrator->exec("GRANT $more ON fervo_jobs TO $user");
        $this->backend($type, $this->database->pdo([], 'shop'))->send(Queue::job('3', unique: 'k'));

        self::assertSame(['1', '3'], $this->database->payloads());
    }

    /** @dataProvider types */
    #[\PHPUnit\Framework\Attributes\DataProvider('types')]
    public function testAPdoThatIsSilentTellsAndStaysSilent(string $type): void
    {
        $pdo = $this->connect($type, 'pdo');
        $pdo->setAttribute(\PDO::ATTR_ERRMODE, \PDO::ERRMODE_SILENT);
        $this->failure($this->backend($type, $pdo), Queue::job('1', 'refused'));

        self::assertSame(\PDO::ERRMODE_SILENT, $pdo->getAttribute(\PDO::ATTR_ERRMODE));
    }

    public function testAMessageForTheWorkerIsThePayload(): void
    {
        self::assertSame("\xff\0", (new DatabaseBackend('postgres', static fn (): object => throw new \LogicException('It needs no connection'), 'fervo_'))->message(Queue::job("\xff\0")));
    }

    private function backend(string $type, object $connection): DatabaseBackend
    {
        return new DatabaseBackend($type, static fn (): object => $connection, 'fervo_');
    }

    private function connect(string $type, string $way): \PDO|Connection
    {
        $this->database = new Database(self::$servers[$type], $type);

        return match ($way) {
            'pdo' => $this->database->pdo([\PDO::ATTR_EMULATE_PREPARES => false]),
            'emulated' => $this->database->pdo([\PDO::ATTR_EMULATE_PREPARES => true]),
            default => $this->database->dbal($way),
        };
    }

    private function execute(\PDO|Connection $connection, string $sql): void
    {
        $connection instanceof \PDO ? $connection->exec($sql) : $connection->executeStatement($sql);
    }

    private function failure(DatabaseBackend $backend, mixed ...$jobs): SendFailedException
    {
        try {
            $backend->send(...$jobs);
        } catch (SendFailedException $failure) {
            return $failure;
        }
        self::fail('It was sent.');
    }

    /** A new server knows none by its name. */
    private static function addTimeZone(\PDO $connection): void
    {
        $connection->exec('USE mysql; '.shell_exec('mariadb-tzinfo-to-sql /usr/share/zoneinfo/Europe/Berlin Europe/Berlin'));
    }
}
