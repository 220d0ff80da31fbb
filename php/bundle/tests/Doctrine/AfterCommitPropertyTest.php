<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Doctrine;

use Doctrine\DBAL\Configuration;
use Doctrine\DBAL\Connection;
use Doctrine\DBAL\Driver\Connection as DriverConnection;
use Doctrine\DBAL\DriverManager;
use Fervo\DeferredEventBundle\Doctrine\TransactionMiddleware;
use Fervo\DeferredEventBundle\Doctrine\TransactionTracker;
use Fervo\DeferredEventBundle\Exception\SendFailedException;
use Fervo\DeferredEventBundle\Outbox;
use Fervo\DeferredEventBundle\SendMode;
use Fervo\DeferredEventBundle\Tests\Fixtures\FakeLogger;
use Fervo\DeferredEventBundle\Tests\Fixtures\SwitchableBackend;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use Fervo\DeferredEventBundle\Tests\Support\Server;
use PHPUnit\Framework\TestCase;

/**
 * `send: after_commit` on real databases: an event is sent if and only if its transaction was committed, whatever the
 * application does. Whoever defers an event also writes its number into a table, in the same transaction, so that the
 * database itself says which events are to be sent.
 *
 * FERVO_SEQUENCES says how many random sequences there are for each database (100), FERVO_SEED which (1).
 */
final class AfterCommitPropertyTest extends TestCase
{
    private const STEPS = 25;

    private static ?Server $postgresql = null;
    private static ?Server $mariadb = null;

    private SwitchableBackend $backend;
    private Outbox $outbox;

    /** @var list<Connection> two, each in a database of its own */
    private array $connections = [];

    /** @var list<Connection> nobody's; they see what was committed, and end the others' */
    private array $observers = [];

    /** @var list<bool> whether a commit has failed and is over for DBAL 4, and nothing has happened since: SQLite still has the transaction then */
    private array $isInLimbo = [];

    /** @var array<int, list<int>> by the number of an event, the connections in whose transactions it was deferred */
    private array $deferred = [];

    private int $number = 0;

    /** @var list<string> */
    private array $steps = [];

    public static function tearDownAfterClass(): void
    {
        self::$postgresql = self::$mariadb = null;
    }

    /**
     * @testWith ["pdo_sqlite"]
     *           ["sqlite3"]
     */
    #[\PHPUnit\Framework\Attributes\TestWith(['pdo_sqlite'])]
    #[\PHPUnit\Framework\Attributes\TestWith(['sqlite3'])]
    public function testSqlite(string $driver): void
    {
        $folder = Folder::create();
        $this->play('sqlite', static fn (int $at): array => ['driver' => $driver, 'path' => "$folder/$at.sqlite"]);
    }

    /**
     * @testWith ["pdo_pgsql"]
     *           ["pgsql"]
     */
    #[\PHPUnit\Framework\Attributes\TestWith(['pdo_pgsql'])]
    #[\PHPUnit\Framework\Attributes\TestWith(['pgsql'])]
    public function testPostgreSql(string $driver): void
    {
        self::$postgresql ??= Server::postgresql();
        $main = ['driver' => $driver, 'host' => self::$postgresql->folder, 'user' => 'test', 'dbname' => 'test'];
        $this->play('postgresql', static fn (int $at): array => ['dbname' => $driver.$at] + $main, $main);
    }

    /**
     * @testWith ["pdo_mysql"]
     *           ["mysqli"]
     */
    #[\PHPUnit\Framework\Attributes\TestWith(['pdo_mysql'])]
    #[\PHPUnit\Framework\Attributes\TestWith(['mysqli'])]
    public function testMariaDb(string $driver): void
    {
        self::$mariadb ??= Server::mariadb();
        $main = ['driver' => $driver, 'unix_socket' => self::$mariadb->folder.'/socket', 'user' => 'test', 'dbname' => 'test'];
        $this->play('mariadb', static fn (int $at): array => ['dbname' => $driver.$at] + $main, $main);
    }

    /**
     * @param \Closure(int): array<string, mixed> $params of one of the two databases
     * @param array<string, mixed>|null           $main   of the one in which they are made
     */
    private function play(string $database, \Closure $params, ?array $main = null): void
    {
        $tracker = new TransactionTracker();
        $this->backend = new SwitchableBackend();
        $logger = new FakeLogger();
        $this->outbox = new Outbox($this->backend, SendMode::AfterCommit, static fn () => $logger, transactions: $tracker);
        foreach ([0, 1] as $at) {
            if (null !== $main) {
                DriverManager::getConnection($main)->executeStatement('CREATE DATABASE '.$params($at)['dbname']);
            }
            $this->observers[$at] = DriverManager::getConnection($params($at));
            foreach ($this->schema($database) as $statement) {
                $this->observers[$at]->executeStatement($statement);
            }
            $configuration = new Configuration();
            $configuration->setMiddlewares([new TransactionMiddleware($tracker)]);
            $this->connections[$at] = DriverManager::getConnection($params($at), $configuration);
        }

        $seed = (int) (getenv('FERVO_SEED') ?: 1);
        $sequences = (int) (getenv('FERVO_SEQUENCES') ?: 100);
        for ($sequence = 0; $sequence < $sequences; ++$sequence) {
            mt_srand($seed * 1_000_003 + $sequence);
            $this->playSequence($database);
            self::assertSame([], $this->mistakes(), sprintf("seed %d, sequence %d:\n%s", $seed, $sequence, implode("\n", $this->steps)));
        }
        self::assertGreaterThan($sequences / 2, \count(array_unique($this->backend->sent)), 'events were sent at all');
    }

    /** @return list<string> */
    private function schema(string $database): array
    {
        $deferrable = 'mariadb' === $database ? '' : ' DEFERRABLE INITIALLY DEFERRED';

        return [
            'CREATE TABLE truth (number INTEGER NOT NULL PRIMARY KEY)',
            'CREATE TABLE parent (id INTEGER NOT NULL PRIMARY KEY)',
            'CREATE TABLE child (parent INTEGER, FOREIGN KEY (parent) REFERENCES parent (id)'.$deferrable.')',
        ];
    }

    private function playSequence(string $database): void
    {
        $this->deferred = [];
        $this->steps = [];
        $this->isInLimbo = [false, false];
        foreach ($this->connections as $connection) {
            if (!$connection->isTransactionActive()) {
                // DBAL 4 always uses savepoints.
                $connection->setNestTransactionsWithSavepoints(1 === mt_rand(0, 1) || (new \ReflectionMethod(DriverConnection::class, 'commit'))->hasReturnType());
            }
            if ('sqlite' === $database) {
                $connection->executeStatement('PRAGMA foreign_keys = ON');
            }
        }
        for ($step = mt_rand(3, self::STEPS); $step > 0; --$step) {
            $this->step($database, mt_rand(0, 9) < 7 ? 0 : 1);
        }
        foreach ($this->connections as $at => $connection) {
            mt_rand(0, 1) ? $connection->close() : $this->attempt('end', $at, static function () use ($connection): void {
                while ($connection->isTransactionActive()) {
                    $connection->rollBack();
                }
            });
            $connection->close();
        }
        $this->backend->isAway = false;
        $this->outbox->terminate();
    }

    private function step(string $database, int $at): void
    {
        $connection = $this->connections[$at];
        $savepoint = 's'.mt_rand(1, 2);
        // As an application may: with the names of its own, also those that are not there.
        [$what, $act] = match (mt_rand(0, 17)) {
            0, 1, 2 => ['begin', static fn () => $connection->beginTransaction()],
            3, 4 => ['commit', static fn () => $connection->commit()],
            5 => ['roll back', static fn () => $connection->rollBack()],
            6 => ["set $savepoint", static fn () => $connection->isTransactionActive() && $connection->createSavepoint($savepoint)],
            7 => ["roll back to $savepoint", static fn () => $connection->isTransactionActive() && $connection->rollbackSavepoint($savepoint)],
            8 => ["release $savepoint", static fn () => $connection->isTransactionActive() && $connection->releaseSavepoint($savepoint)],
            9 => ['close', static fn () => $connection->close()],
            10 => ['kill', fn () => $this->kill($database, $at)],
            11 => ['poison', static fn () => $connection->executeStatement('INSERT INTO child VALUES (99)')],
            12 => ['outage', fn () => $this->backend->isAway = !$this->backend->isAway],
            13 => ['terminate', fn () => $this->outbox->terminate()],
            default => ['defer', fn () => $this->defer($at)],
        };
        $this->attempt($what, $at, $act);
    }

    /** What fails is answered as applications do: in no way, by a rollback, or by closing the connection. */
    private function attempt(string $what, int $at, \Closure $act): void
    {
        $line = "$at $what";
        $connection = $this->connections[$at];
        try {
            $result = $act();
            if (\in_array($what, ['begin', 'commit', 'roll back', 'close'], true)) {
                // DBAL 3 passes on what sqlite3 says of a failed commit.
                $this->isInLimbo[$at] = 'commit' === $what && false === $result && !$connection->isTransactionActive();
            }
        } catch (\Throwable $error) {
            $line .= ': '.$error::class;
            $this->isInLimbo[$at] = ($this->isInLimbo[$at] || 'commit' === $what) && !$connection->isTransactionActive();
            $answer = mt_rand(0, 2);
            if (1 === $answer) {
                $line .= ', rolled back';
                try {
                    while ($connection->isTransactionActive()) {
                        $connection->rollBack();
                    }
                } catch (\Throwable $error) {
                    $line .= ': '.$error::class;
                    $connection->close();
                }
            } elseif (2 === $answer) {
                $line .= ', closed';
                $this->isInLimbo[$at] = false;
                $connection->close();
            }
        }
        $this->steps[] = $line.($connection->isTransactionActive() ? ' (in a transaction)' : '');
    }

    private function defer(int $at): void
    {
        $number = ++$this->number;
        // Where it belongs is up to the application, and to all the transactions that are open.
        $in = [$at];
        foreach ($this->connections as $other => $connection) {
            if ($other !== $at && $connection->isTransactionActive()) {
                $in[] = $other;
            }
        }
        foreach ($in as $one) {
            // The database has a transaction here that the application believes to be over.
            if ($this->isInLimbo[$one]) {
                return;
            }
        }
        foreach ($in as $one) {
            $this->connections[$one]->executeStatement('INSERT INTO truth VALUES ('.$number.')');
        }
        try {
            $this->outbox->add(Queue::job((string) $number));
            $this->deferred[$number] = $in;
        } catch (SendFailedException) {
            // Outside of a transaction: who has deferred it knows now, and has it.
        }
    }

    private function kill(string $database, int $at): void
    {
        $connection = $this->connections[$at];
        $statement = ['postgresql' => 'SELECT pg_backend_pid()', 'mariadb' => 'SELECT CONNECTION_ID()'][$database] ?? null;
        if (null === $statement) {
            return;
        }
        $id = (int) $connection->fetchOne($statement);
        $this->observers[$at]->executeStatement('postgresql' === $database ? "SELECT pg_terminate_backend($id, 5000)" : "KILL $id");
    }

    /** @return list<string> */
    private function mistakes(): array
    {
        $committed = array_map(static fn (Connection $observer): array => array_flip($observer->fetchFirstColumn('SELECT number FROM truth')), $this->observers);
        $times = array_count_values($this->backend->sent);
        $mistakes = [];
        foreach ($this->deferred as $number => $in) {
            $isCommitted = array_reduce($in, static fn (bool $is, int $at): bool => $is && isset($committed[$at][$number]), true);
            $sent = $times[$number] ?? 0;
            if ($sent !== ($isCommitted ? 1 : 0)) {
                $mistakes[] = sprintf('event %d, deferred on %s: sent %d times, %s', $number, implode(' and ', $in), $sent, $isCommitted ? 'committed' : 'not committed');
            }
        }
        foreach ($this->observers as $observer) {
            $observer->executeStatement('DELETE FROM truth');
        }

        return $mistakes;
    }
}
