<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Doctrine;

use Doctrine\DBAL\Configuration;
use Doctrine\DBAL\Connection;
use Doctrine\DBAL\DriverManager;
use Doctrine\DBAL\Exception\DeadlockException;
use Fervo\DeferredEventBundle\Doctrine\OpenTransactions;
use Fervo\DeferredEventBundle\Doctrine\TransactionMiddleware;
use Fervo\DeferredEventBundle\Doctrine\TransactionTracker;
use Fervo\DeferredEventBundle\Outbox;
use Fervo\DeferredEventBundle\SendMode;
use Fervo\DeferredEventBundle\Tests\Fixtures\FakeBackend;
use Fervo\DeferredEventBundle\Tests\Fixtures\FakeLogger;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use Fervo\DeferredEventBundle\Tests\Support\Server;
use PHPUnit\Framework\TestCase;

/** What each driver of DBAL tells of a transaction, and what it does not. */
final class DriversTest extends TestCase
{
    private static ?Server $postgresql = null;
    private static ?Server $mariadb = null;

    private FakeBackend $backend;
    private Outbox $outbox;
    private ?Connection $connection = null;

    protected function tearDown(): void
    {
        $this->connection?->close();
    }

    public static function setUpBeforeClass(): void
    {
        self::$postgresql = Server::postgresql();
        self::$mariadb = Server::mariadb();
    }

    public static function tearDownAfterClass(): void
    {
        self::$postgresql = self::$mariadb = null;
    }

    /** @return iterable<array{string}> */
    public static function drivers(): iterable
    {
        yield from [...self::sqlite(), ...self::postgresql(), ...self::mysql()];
    }

    /** @return iterable<array{string}> */
    public static function sqlite(): iterable
    {
        yield ['pdo_sqlite'];
        yield ['sqlite3'];
    }

    /** @return iterable<array{string}> */
    public static function postgresql(): iterable
    {
        yield ['pdo_pgsql'];
        yield ['pgsql'];
    }

    /** @return iterable<array{string}> */
    public static function mysql(): iterable
    {
        yield ['pdo_mysql'];
        yield ['mysqli'];
    }

    /** @dataProvider drivers */
    #[\PHPUnit\Framework\Attributes\DataProvider('drivers')]
    public function testATransactionThatDbalDoesNotKnowOfIsRolledBack(string $driver): void
    {
        $connection = $this->connect($driver);
        $connection->executeStatement('BEGIN');
        $connection->executeStatement('INSERT INTO t VALUES (7, 0)');
        $open = new OpenTransactions(['main' => $connection]);

        self::assertSame(['main'], $open->rollBack());
        self::assertEquals(0, $connection->fetchOne('SELECT COUNT(*) FROM t WHERE id = 7'));
        self::assertSame([], $open->rollBack());
    }

    /** @dataProvider sqlite */
    #[\PHPUnit\Framework\Attributes\DataProvider('sqlite')]
    public function testATransactionThatHasOutlivedItsCommitIsRolledBack(string $driver): void
    {
        $connection = $this->connect($driver);
        $connection->executeStatement('PRAGMA foreign_keys = ON');
        $connection->executeStatement('CREATE TABLE child (t INTEGER REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)');
        $connection->beginTransaction();
        $connection->executeStatement('INSERT INTO child VALUES (99)');
        try {
            // DBAL 3 returns false with one of the two.
            $connection->commit();
        } catch (\Doctrine\DBAL\Exception|\Doctrine\DBAL\Driver\Exception) {
        }

        self::assertSame(['main'], (new OpenTransactions(['main' => $connection]))->rollBack());
        // What the next job does on it is its own.
        $connection->executeStatement('INSERT INTO t VALUES (7, 0)');
        $connection->close();
        self::assertEquals([0, 1], [$connection->fetchOne('SELECT COUNT(*) FROM child'), $connection->fetchOne('SELECT COUNT(*) FROM t WHERE id = 7')]);
    }

    /** @dataProvider postgresql */
    #[\PHPUnit\Framework\Attributes\DataProvider('postgresql')]
    public function testAfterAStatementThatFailedPostgreSqlCommitsNothing(string $driver): void
    {
        foreach ([['SELECT 1/0', []], ['INSERT INTO nowhere VALUES (?)', [1]], ['INSERT INTO t VALUES (?, 0)', [1]]] as [$sql, $parameters]) {
            $connection = $this->connect($driver);
            $connection->beginTransaction();
            $this->outbox->add(Queue::job('ghost'));
            try {
                $connection->executeStatement($sql, $parameters);
                self::fail($sql);
            } catch (\Doctrine\DBAL\Exception) {
            }
            $connection->commit();
            $connection->transactional(fn () => $this->outbox->add(Queue::job('real')));

            self::assertSame([['real']], $this->backend->calls, $sql);
        }
    }

    /**
     * DBAL up to 3.6.1 lets it be committed once more, and PostgreSQL has nothing against it.
     *
     * @dataProvider postgresql
     */
    #[\PHPUnit\Framework\Attributes\DataProvider('postgresql')]
    public function testAfterACommitThatFailedPostgreSqlCommitsNothing(string $driver): void
    {
        $connection = $this->connect($driver);
        $connection->executeStatement('DROP TABLE IF EXISTS child');
        $connection->executeStatement('CREATE TABLE child (t INTEGER REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)');
        $connection->beginTransaction();
        $this->outbox->add(Queue::job('ghost'));
        $connection->executeStatement('INSERT INTO child VALUES (99)');
        for ($i = 0; $i < 2; ++$i) {
            try {
                $connection->commit();
                self::assertSame(1, $i);
            } catch (\Doctrine\DBAL\Exception|\Doctrine\DBAL\Driver\Exception|\PDOException) {
            }
        }
        $connection->executeStatement('DROP TABLE child');
        $connection->close();

        self::assertSame([], $this->backend->calls);
    }

    /** @dataProvider mysql */
    #[\PHPUnit\Framework\Attributes\DataProvider('mysql')]
    public function testAfterADeadlockMariaDbCommitsNothing(string $driver): void
    {
        $connection = $this->connect($driver);
        $this->loseInADeadlock($connection, fn () => $this->outbox->add(Queue::job('ghost')));
        try {
            $connection->commit();
        } catch (\Doctrine\DBAL\Exception|\Doctrine\DBAL\Driver\Exception|\PDOException) {
            // PDO asks the server, too.
        }
        self::assertEquals(0, $connection->fetchOne('SELECT x FROM t WHERE id = 1'));
        $connection->transactional(fn () => $this->outbox->add(Queue::job('real')));

        self::assertSame([['real']], $this->backend->calls);
    }

    /** @param \Closure(): void $within the transaction that the server rolls back */
    private function loseInADeadlock(Connection $connection, \Closure $within): void
    {
        $socket = self::$mariadb?->folder.'/socket';
        $other = new \mysqli(null, 'test', null, 'test', null, $socket);
        $other->begin_transaction();
        // The one that has changed less has to give way.
        $other->query('UPDATE t SET x = 1 WHERE id >= 2');
        $connection->beginTransaction();
        $connection->executeStatement('UPDATE t SET x = 2 WHERE id = 1');
        $within();
        $other->query('UPDATE t SET x = 1 WHERE id = 1', \MYSQLI_ASYNC);
        $observer = new \mysqli(null, 'test', null, 'test', null, $socket);
        $deadline = microtime(true) + 10;
        while ('1' !== $observer->query("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")->fetch_row()[1]) {
            self::assertLessThan($deadline, microtime(true), 'The other one waits');
            usleep(5_000);
        }
        try {
            $connection->executeStatement('UPDATE t SET x = 2 WHERE id = 2');
            self::fail('There is no deadlock.');
        } catch (DeadlockException) {
        }
        $other->reap_async_query();
        $other->rollback();
    }

    private function connect(string $driver): Connection
    {
        $tracker = new TransactionTracker();
        $configuration = new Configuration();
        $configuration->setMiddlewares([new TransactionMiddleware($tracker)]);
        $this->connection?->close();
        $this->connection = $connection = DriverManager::getConnection(['driver' => $driver] + match ($driver) {
            'pdo_sqlite', 'sqlite3' => ['path' => Folder::create().'/app.sqlite'],
            'pdo_pgsql', 'pgsql' => ['host' => self::$postgresql?->folder, 'user' => 'test', 'dbname' => 'test'],
            default => ['unix_socket' => self::$mariadb?->folder.'/socket', 'user' => 'test', 'dbname' => 'test'],
        }, $configuration);
        $connection->executeStatement('DROP TABLE IF EXISTS t');
        $connection->executeStatement('CREATE TABLE t (id INTEGER PRIMARY KEY, x INTEGER)');
        $connection->executeStatement('INSERT INTO t VALUES (1, 0), (2, 0), (3, 0), (4, 0)');
        $this->outbox = new Outbox($this->backend = new FakeBackend(), SendMode::AfterCommit, static fn () => new FakeLogger(), transactions: $tracker);

        return $connection;
    }
}
