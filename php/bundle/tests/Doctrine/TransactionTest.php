<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Doctrine;

use Doctrine\DBAL\Configuration;
use Doctrine\DBAL\Connection;
use Doctrine\DBAL\DriverManager;
use Fervo\DeferredEventBundle\Backend\BackendInterface;
use Fervo\DeferredEventBundle\Backend\DeferredJob;
use Fervo\DeferredEventBundle\Backend\InProcessBackendInterface;
use Fervo\DeferredEventBundle\DependencyInjection\Compiler\DoctrinePass;
use Fervo\DeferredEventBundle\Doctrine\TransactionMiddleware;
use Fervo\DeferredEventBundle\Doctrine\TransactionTracker;
use Fervo\DeferredEventBundle\Outbox;
use Fervo\DeferredEventBundle\SendMode;
use Fervo\DeferredEventBundle\Tests\Fixtures\FakeBackend;
use Fervo\DeferredEventBundle\Tests\Fixtures\FakeLogger;
use Fervo\DeferredEventBundle\Tests\Support\Folder;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use PHPUnit\Framework\TestCase;
use Psr\Log\AbstractLogger;
use Symfony\Component\DependencyInjection\ContainerBuilder;

/** `send: after_commit` on a real DBAL connection, as DoctrineBundle sets it up. */
final class TransactionTest extends TestCase
{
    private Connection $connection;
    private FakeBackend $backend;
    private Outbox $outbox;
    private FakeLogger $logger;

    protected function setUp(): void
    {
        $tracker = new TransactionTracker();
        $this->connection = $this->connection($tracker);
        $this->connection->executeStatement('CREATE TABLE t (x INTEGER UNIQUE)');
        $this->logger = new FakeLogger();
        $this->outbox = $this->outbox($tracker, $this->backend = new FakeBackend());
    }

    public function testSendsAtOnceWithoutATransaction(): void
    {
        $this->outbox->add(Queue::job('1'));

        self::assertSame([['1']], $this->backend->calls);
    }

    public function testSendsAfterTheOutermostCommit(): void
    {
        $this->connection->beginTransaction();
        $this->outbox->add(Queue::job('1'));
        $this->connection->beginTransaction();
        $this->outbox->add(Queue::job('2'));
        $this->connection->commit();
        self::assertSame([], $this->backend->calls);

        $this->connection->commit();
        self::assertSame([['1', '2']], $this->backend->calls);
        self::assertFalse($this->connection->isTransactionActive());
    }

    public function testDropsAtRollback(): void
    {
        try {
            $this->connection->transactional(function (): void {
                $this->outbox->add(Queue::job('1'));
                throw new \DomainException();
            });
        } catch (\DomainException) {
        }
        $this->connection->transactional(function (): void {
            $this->outbox->add(Queue::job('2'));
        });

        self::assertSame([['2']], $this->backend->calls);
    }

    public function testDropsWhatWasDeferredInASavepointThatIsRolledBack(): void
    {
        $this->connection->setNestTransactionsWithSavepoints(true);
        $this->connection->transactional(function (Connection $connection): void {
            $this->outbox->add(Queue::job('1'));
            $connection->beginTransaction();
            $this->outbox->add(Queue::job('2'));
            $connection->rollBack();
            $connection->transactional(fn () => $this->outbox->add(Queue::job('3')));
        });

        self::assertSame([['1', '3']], $this->backend->calls);
    }

    public function testASavepointIsOneHoweverItIsSet(): void
    {
        $run = [
            fn (string $sql) => $this->connection->executeStatement("/* GET /pay */ $sql"),
            fn (string $sql) => $this->connection->executeStatement("$sql -- pay"),
            fn (string $sql) => $this->connection->executeQuery($sql)->free(),
        ];
        foreach ($run as $execute) {
            $this->connection->transactional(function () use ($execute): void {
                $execute('SAVEPOINT a');
                $this->outbox->add(Queue::job('ghost'));
                $execute('ROLLBACK TO SAVEPOINT a');
                $this->outbox->add(Queue::job('good'));
            });
        }

        self::assertSame([['good'], ['good'], ['good']], $this->backend->calls);
    }

    public function testDropsWhenTheConnectionIsClosed(): void
    {
        $this->connection->beginTransaction();
        $this->outbox->add(Queue::job('ghost'));
        $this->connection->close();
        $this->connection->transactional(fn () => $this->outbox->add(Queue::job('good')));

        self::assertSame([['good']], $this->backend->calls);
    }

    /**
     * SQLite keeps a transaction whose commit has failed. DBAL up to 3.6.1 does, too, and what is deferred then belongs to it; for
     * later ones it is over.
     */
    public function testACommitThatFailsSendsNothing(): void
    {
        $this->failToCommit();
        $this->outbox->add(Queue::job('later'));
        $isOver = !$this->connection->isTransactionActive();
        self::assertSame($isOver ? [['later']] : [], $this->backend->calls);

        $this->connection->close();
        self::assertSame($isOver ? [['later']] : [], $this->backend->calls);
    }

    public function testACommitThatFailedCanBeTriedAgain(): void
    {
        $this->failToCommit();
        try {
            $this->connection->beginTransaction();
        } catch (\Doctrine\DBAL\Exception|\Doctrine\DBAL\Driver\Exception) {
            // DBAL 4 begins anew, and SQLite is in the transaction still. Now both are.
        }
        $this->outbox->add(Queue::job('inside'));
        while ($this->connection->getTransactionNestingLevel() > 1) {
            $this->connection->commit();
        }
        self::assertSame([], $this->backend->calls);

        $this->connection->executeStatement('DELETE FROM child');
        $this->connection->commit();
        self::assertSame([['failed', 'inside']], $this->backend->calls);
    }

    private function failToCommit(): void
    {
        $this->connection->executeStatement('PRAGMA foreign_keys = ON');
        $this->connection->executeStatement('CREATE TABLE parent (id INTEGER PRIMARY KEY)');
        $this->connection->executeStatement('CREATE TABLE child (parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)');
        $this->connection->beginTransaction();
        $this->connection->executeStatement('INSERT INTO child VALUES (1)');
        $this->outbox->add(Queue::job('failed'));
        try {
            $this->connection->commit();
        } catch (\Doctrine\DBAL\Exception|\Doctrine\DBAL\Driver\Exception) {
            return;
        }
        self::fail('It was committed.');
    }

    public function testARepeatedCommitSends(): void
    {
        $connection = (new TransactionTracker())->watch();
        $connection->begun();
        $told = [];
        $connection->scope()->whenEnded(static function (bool $isCommitted) use (&$told): void {
            $told[] = $isCommitted;
        });
        $connection->commitFailed();
        self::assertNull($connection->scope());
        self::assertSame([], $told);

        $connection->committed();
        self::assertSame([true], $told);
    }

    public function testAnOutageDoesNotMixTransactions(): void
    {
        $this->backend->failures = 1;
        $this->connection->transactional(fn () => $this->outbox->add(Queue::job('1')));
        $this->connection->beginTransaction();
        $this->outbox->add(Queue::job('rolled back'));
        $this->connection->rollBack();
        $this->connection->transactional(fn () => $this->outbox->add(Queue::job('2')));

        self::assertSame([['1'], ['1'], ['2']], $this->backend->calls);
    }

    /** Neither inside of the driver's commit, nor so that the commit seems to have failed. */
    public function testListenersThatRunHereRunWhenTheCommitIsOver(): void
    {
        $tracker = new TransactionTracker();
        $connection = $this->connection($tracker);
        $levels = [];
        $outbox = $this->outbox($tracker, new class($connection, $levels) implements InProcessBackendInterface {
            /** @param list<int> $levels */
            public function __construct(private readonly Connection $connection, private array &$levels)
            {
            }

            public function send(DeferredJob ...$jobs): void
            {
                $this->levels[] = $this->connection->getTransactionNestingLevel();
                throw new \DomainException('of a listener');
            }
        });
        $connection->transactional(static fn () => $outbox->add(Queue::job('1')));
        self::assertSame([], $levels);

        $outbox->terminate();
        self::assertSame([0], $levels);
        self::assertSame(['error: A deferred event failed: {reason} [of a listener]'], $this->logger->lines);
    }

    /** With `on_failure: run`, too. */
    public function testTheFallbackRunsWhenTheCommitIsOver(): void
    {
        $tracker = new TransactionTracker();
        $connection = $this->connection($tracker);
        $fallback = new FakeBackend();
        $outbox = new Outbox(new FakeBackend(failures: 2), SendMode::AfterCommit, fn () => $this->logger, static fn () => $fallback, $tracker);
        $connection->transactional(static fn () => $outbox->add(Queue::job('1')));
        self::assertSame([], $fallback->calls);

        $outbox->terminate();
        self::assertSame([['1']], $fallback->calls);
    }

    public function testAQueueThatIsAwayDoesNotSpoilTheCommit(): void
    {
        $tracker = new TransactionTracker();
        $connection = $this->connection($tracker);
        $outbox = $this->outbox($tracker, $backend = new FakeBackend(failures: 1));
        $connection->executeStatement('CREATE TABLE t (x)');
        $connection->transactional(static function (Connection $connection) use ($outbox): void {
            $connection->executeStatement('INSERT INTO t VALUES (1)');
            $outbox->add(Queue::job('1'));
        });

        self::assertFalse($connection->isTransactionActive());
        self::assertEquals(1, $connection->fetchOne('SELECT COUNT(*) FROM t'));
        self::assertSame(['error: Could not send deferred events yet: {reason} [away]'], $this->logger->lines);
        $outbox->terminate();
        self::assertSame([['1'], ['1']], $backend->calls, 'tried again');
    }

    /** The application would take it for a failed commit, and do it again. */
    public function testWhateverABackendOrTheLogThrowsTheCommitHasSucceeded(): void
    {
        $backend = new class implements BackendInterface {
            public bool $isBroken = true;

            public function send(DeferredJob ...$jobs): void
            {
                if ($this->isBroken) {
                    throw new \TypeError('a backend of the application');
                }
            }
        };
        $logger = new class extends AbstractLogger {
            /** @param array<string, mixed> $context */
            public function log($level, $message, array $context = []): void
            {
                throw new \UnexpectedValueException('The stream could not be opened');
            }
        };
        foreach ([[$backend, $this->logger], [new FakeBackend(1), $logger], [$backend, $logger]] as [$sends, $logs]) {
            $tracker = new TransactionTracker();
            $connection = $this->connection($tracker);
            $connection->executeStatement('CREATE TABLE t (x INTEGER)');
            $outbox = new Outbox($sends, SendMode::AfterCommit, static fn () => $logs, null, $tracker);
            $log = ini_set('error_log', $file = Folder::create().'/log');
            try {
                $connection->transactional(static function (Connection $connection) use ($outbox): void {
                    $connection->executeStatement('INSERT INTO t VALUES (7)');
                    $outbox->add(Queue::job('kept'));
                });
                $connection->beginTransaction();
                $outbox->add(Queue::job('dropped'));
                $connection->rollBack();
                $backend->isBroken = false;
                $outbox->terminate();
                $backend->isBroken = true;
            } finally {
                ini_set('error_log', (string) $log);
            }

            self::assertEquals([7], $connection->fetchFirstColumn('SELECT x FROM t'));
            if ($logs === $logger) {
                self::assertStringContainsString('foo.action for queue default', (string) file_get_contents($file), 'somebody is told');
            }
        }
        self::assertSame(['error: Could not send deferred events yet: {reason} [Cannot put the deferred event into the queue: a backend of the application]'], array_unique($this->logger->lines));
    }

    public function testTheMiddlewareIsThatOfTheDefaultConnection(): void
    {
        $container = new ContainerBuilder();
        $container->register('fervo_deferred_event.outbox', Outbox::class);
        $container->register('fervo_deferred_event.transaction_middleware', TransactionMiddleware::class);
        $container->setParameter('fervo_deferred_event.after_commit', true);
        $container->setParameter('doctrine.default_connection', 'main');
        (new DoctrinePass())->process($container);

        self::assertSame([['connection' => 'main']], $container->getDefinition('fervo_deferred_event.transaction_middleware')->getTag('doctrine.middleware'));
    }

    private function connection(TransactionTracker $tracker): Connection
    {
        $configuration = new Configuration();
        $configuration->setMiddlewares([new TransactionMiddleware($tracker)]);

        return DriverManager::getConnection(['driver' => 'pdo_sqlite', 'memory' => true], $configuration);
    }

    private function outbox(TransactionTracker $tracker, BackendInterface $backend): Outbox
    {
        return new Outbox($backend, SendMode::AfterCommit, fn () => $this->logger, transactions: $tracker);
    }
}
