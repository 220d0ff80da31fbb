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
     * Moves the oldest events to the queue. Several relays at the same time share them.
     *
     * @return int how many were moved; less than the limit when there are no more
     *
     * @throws SendFailedException when some could not be moved; the others were
     */
    public function relay(BackendInterface $backend, int $limit): int
    {
        $connection = ($this->connection)();
        $failure = null;
        $moved = $connection->transactional(function (Connection $connection) use ($backend, $limit, &$failure): int {
            $rows = $this->take($connection, $limit);
            if ([] === $rows) {
                return 0;
            }
            $jobs = array_map(self::jobOf(...), $rows);
            $unsent = [];
            try {
                $backend->send(...$jobs);
            } catch (SendFailedException $failure) {
                $unsent = $failure->unsentJobs;
            }
            $sent = array_filter(array_keys($jobs), static fn (int $at): bool => !\in_array($jobs[$at], $unsent, true));
            foreach ($sent as $at) {
                $connection->delete($this->name, ['id' => (int) $rows[$at]['id']], ['id' => ParameterType::INTEGER]);
            }

            return \count($sent);
        });
        if (null !== $failure) {
            throw $failure;
        }

        return $moved;
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

    /** @return list<array<string, mixed>> rows that no other relay has */
    private function take(Connection $connection, int $limit): array
    {
        $platform = $connection->getDatabasePlatform();
        $lock = '';
        if ($platform instanceof PostgreSQLPlatform || $platform instanceof AbstractMySQLPlatform) {
            $lock = ' FOR UPDATE SKIP LOCKED';
        } else {
            // SQLite has one writer at a time: whoever writes first keeps the others out until the commit.
            $connection->executeStatement('DELETE FROM '.$this->name.' WHERE id IS NULL');
        }

        return $connection->fetchAllAssociative(sprintf('SELECT * FROM %s ORDER BY id LIMIT %d%s', $this->name, $limit, $lock));
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
