<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Doctrine;

use Doctrine\DBAL\Connection;
use Doctrine\DBAL\ParameterType;
use Doctrine\DBAL\Platforms\AbstractMySQLPlatform;
use Doctrine\DBAL\Platforms\PostgreSQLPlatform;
use Doctrine\DBAL\Schema\Schema;
use Fervo\DeferredEventBundle\Backend\BackendInterface;
use Fervo\DeferredEventBundle\Backend\DeferredJob;
use Fervo\DeferredEventBundle\Exception\SendFailedException;

/**
 * Events that wait in a table of the application's own database, written in the application's own transactions: an event is
 * there if and only if what it tells of has happened, whatever dies in between. The relay moves them to the queue, and
 * deletes each when the queue has confirmed it; a relay that dies between the two sends it once more.
 *
 * @internal
 */
final class OutboxTable
{
    /** Of the payloads that one transaction takes: PHP holds them, and what the queue's protocol makes of them. */
    private const MAX_LENGTH = 8 << 20;

    /**
     * @param \Closure(): Connection $connection
     * @param string                 $name       of the table; of the configuration, never of an event
     */
    public function __construct(private readonly \Closure $connection, private readonly string $name)
    {
    }

    /** In the transaction that is open, if there is one. */
    public function add(DeferredJob $job): void
    {
        ($this->connection)()->insert($this->name, [
            'queue' => $job->queue,
            'payload' => $job->payload,
            'not_before_ms' => $job->notBeforeMs,
            'priority' => $job->priority,
            'attempts' => $job->attempts,
            'event_name' => $job->eventName,
            'event_class' => $job->eventClass,
            'listener' => $job->listener,
        ], [
            'not_before_ms' => null === $job->notBeforeMs ? ParameterType::NULL : ParameterType::INTEGER,
            'priority' => ParameterType::INTEGER,
            'attempts' => null === $job->attempts ? ParameterType::NULL : ParameterType::INTEGER,
            'listener' => null === $job->listener ? ParameterType::NULL : ParameterType::STRING,
        ]);
    }

    /**
     * Moves the oldest events to the queue, in a transaction. Several relays at the same time share them.
     *
     * @param int $after an event's id: those behind it
     */
    public function relay(BackendInterface $backend, int $limit, int $after = 0): RelayStep
    {
        $connection = ($this->connection)();
        if ($connection->isAutoCommit()) {
            return $connection->transactional(fn (): RelayStep => $this->move($connection, $backend, $limit, $after));
        }
        // There is a transaction already, and nobody else to commit it.
        try {
            $step = $this->move($connection, $backend, $limit, $after);
            $connection->commit();

            return $step;
        } catch (\Throwable $error) {
            $connection->close();
            throw $error;
        }
    }

    public function count(): int
    {
        return (int) ($this->connection)()->fetchOne('SELECT COUNT(*) FROM '.$this->name);
    }

    /** Makes the table, unless it is there. */
    public function create(): void
    {
        $connection = ($this->connection)();
        $manager = $connection->createSchemaManager();
        if ($manager->tablesExist([$this->name])) {
            return;
        }
        $schema = new Schema([], [], $manager->createSchemaConfig());
        $this->addTo($schema);
        foreach ($schema->toSql($connection->getDatabasePlatform()) as $statement) {
            $connection->executeStatement($statement);
        }
    }

    /** For migrations, which would drop a table that they do not know. */
    public function addTo(Schema $schema): void
    {
        if ($schema->hasTable($this->name)) {
            return;
        }
        $table = $schema->createTable($this->name);
        $table->addColumn('id', 'bigint', ['autoincrement' => true]);
        $table->addColumn('queue', 'string', ['length' => 128]);
        // Longer than what fits MySQL's TEXT.
        $table->addColumn('payload', 'text', ['length' => 1 << 30]);
        $table->addColumn('not_before_ms', 'bigint', ['notnull' => false]);
        $table->addColumn('priority', 'integer');
        $table->addColumn('attempts', 'integer', ['notnull' => false]);
        $table->addColumn('event_name', 'text');
        $table->addColumn('event_class', 'text');
        $table->addColumn('listener', 'text', ['notnull' => false]);
        $table->setPrimaryKey(['id']);
    }

    public function isInTransaction(): bool
    {
        return ($this->connection)()->isTransactionActive();
    }

    public function isOn(Connection $connection): bool
    {
        return ($this->connection)() === $connection;
    }

    private function move(Connection $connection, BackendInterface $backend, int $limit, int $after): RelayStep
    {
        [$ids, $hasMore] = $this->take($connection, $limit, $after);
        if ([] === $ids) {
            return new RelayStep();
        }
        $rows = $connection->fetchAllAssociative(sprintf('SELECT * FROM %s WHERE id IN (%s) ORDER BY id', $this->name, implode(', ', $ids)));
        $jobs = array_map(self::jobOf(...), $rows);
        $unsent = [];
        $failure = null;
        try {
            $backend->send(...$jobs);
        } catch (SendFailedException $failure) {
            $unsent = $failure->unsentJobs;
        }
        $sent = array_filter(array_keys($jobs), static fn (int $at): bool => !\in_array($jobs[$at], $unsent, true));
        foreach ($sent as $at) {
            $connection->delete($this->name, ['id' => (int) $rows[$at]['id']], ['id' => ParameterType::INTEGER]);
        }

        return new RelayStep(\count($jobs), \count($sent), max($ids), $hasMore, $failure);
    }

    /**
     * As many as fit into memory at the same time, at least one.
     *
     * @return array{list<int>, bool} the ids of rows that no other relay has, and whether there may be more behind
     */
    private function take(Connection $connection, int $limit, int $after): array
    {
        $platform = $connection->getDatabasePlatform();
        $lock = '';
        if ($platform instanceof PostgreSQLPlatform || $platform instanceof AbstractMySQLPlatform) {
            $lock = ' FOR UPDATE SKIP LOCKED';
        } else {
            // SQLite has one writer at a time: whoever writes first keeps the others out until the commit.
            $connection->executeStatement('DELETE FROM '.$this->name.' WHERE id IS NULL');
        }
        $found = $connection->fetchAllNumeric(sprintf('SELECT id, %s FROM %s WHERE id > %d ORDER BY id LIMIT %d%s', $platform->getLengthExpression('payload'), $this->name, $after, $limit, $lock));
        $ids = [];
        $length = 0;
        foreach ($found as [$id, $payloadLength]) {
            $length += (int) $payloadLength;
            if ([] !== $ids && $length > self::MAX_LENGTH) {
                return [$ids, true];
            }
            $ids[] = (int) $id;
        }

        return [$ids, $limit === \count($ids)];
    }

    /** @param array<string, mixed> $row */
    private static function jobOf(array $row): DeferredJob
    {
        return new DeferredJob(
            payload: (string) $row['payload'],
            queue: (string) $row['queue'],
            notBeforeMs: null === $row['not_before_ms'] ? null : (int) $row['not_before_ms'],
            priority: (int) $row['priority'],
            attempts: null === $row['attempts'] ? null : (int) $row['attempts'],
            eventName: (string) $row['event_name'],
            eventClass: (string) $row['event_class'],
            listener: null === $row['listener'] ? null : (string) $row['listener'],
        );
    }
}
