<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Tests\Doctrine;

use Doctrine\DBAL\Configuration;
use Doctrine\DBAL\Connection;
use Doctrine\DBAL\DriverManager;
use Fervo\DeferredEventBundle\DependencyInjection\Compiler\AfterCommitPass;
use Fervo\DeferredEventBundle\Doctrine\TransactionMiddleware;
use Fervo\DeferredEventBundle\Doctrine\TransactionTracker;
use Fervo\DeferredEventBundle\Outbox;
use Fervo\DeferredEventBundle\SendMode;
use Fervo\DeferredEventBundle\Tests\Fixtures\FakeBackend;
use Fervo\DeferredEventBundle\Tests\Fixtures\FakeLogger;
use Fervo\DeferredEventBundle\Tests\Support\Queue;
use PHPUnit\Framework\TestCase;
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
        $configuration = new Configuration();
        $configuration->setMiddlewares([new TransactionMiddleware($tracker)]);
        $this->connection = DriverManager::getConnection(['driver' => 'pdo_sqlite', 'memory' => true], $configuration);
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

    public function testAQueueThatIsAwayDoesNotSpoilTheCommit(): void
    {
        $tracker = new TransactionTracker();
        $configuration = new Configuration();
        $configuration->setMiddlewares([new TransactionMiddleware($tracker)]);
        $connection = DriverManager::getConnection(['driver' => 'pdo_sqlite', 'memory' => true], $configuration);
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

    public function testTheMiddlewareIsThatOfTheDefaultConnection(): void
    {
        $container = new ContainerBuilder();
        $container->register('fervo_deferred_event.outbox', Outbox::class);
        $container->register('fervo_deferred_event.transaction_middleware', TransactionMiddleware::class);
        $container->setParameter('fervo_deferred_event.after_commit', true);
        $container->setParameter('doctrine.default_connection', 'main');
        (new AfterCommitPass())->process($container);

        self::assertSame([['connection' => 'main']], $container->getDefinition('fervo_deferred_event.transaction_middleware')->getTag('doctrine.middleware'));
    }

    private function outbox(TransactionTracker $tracker, FakeBackend $backend): Outbox
    {
        return new Outbox($backend, SendMode::AfterCommit, fn () => $this->logger, transactions: $tracker);
    }
}
