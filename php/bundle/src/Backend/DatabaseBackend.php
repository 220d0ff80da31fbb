<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

use Doctrine\DBAL\Connection;
use Doctrine\DBAL\Exception\TableNotFoundException;
use Fervo\DeferredEventBundle\Exception\SendFailedException;

/**
 * fervo-worker's table in the application's own database, over the application's own connection. So an event that is deferred within a
 * transaction is part of it: the commit shows it to the workers, the rollback of the transaction or of a savepoint undoes it.
 *
 * The jobs of a call are one statement, which the server does as a whole or not at all, also within a transaction. Only very many or
 * very large ones are several statements.
 *
 * @internal
 */
final class DatabaseBackend implements ReplaceableBackendInterface, UniqueBackendInterface
{
    /** Of one statement. MariaDB takes 16 MiB at most by default, and the driver may escape each byte. */
    private const MAX_LENGTH = 4 << 20;
    private const MAX_JOBS = 500;

    /** Undefined table: of PostgreSQL, and of MySQL and MariaDB. */
    private const TABLE_MISSING = ['42P01', '42S02'];

    private readonly DatabaseServer $server;

    /**
     * @param string             $server      "postgres" or "mysql"
     * @param \Closure(): object $connection  DBAL's or PDO
     * @param string             $tablePrefix of the configuration, never of an event
     */
    public function __construct(string $server, private readonly \Closure $connection, private readonly string $tablePrefix)
    {
        $this->server = DatabaseServer::from($server);
    }

    public function send(DeferredJob ...$jobs): void
    {
        $unsent = array_values($jobs);
        $connection = null;
        try {
            $connection = $this->connect();
            foreach (self::split($unsent) as $together) {
                $this->insert($connection, $together);
                $unsent = \array_slice($unsent, \count($together));
            }
        } catch (\Exception $error) {
            throw new SendFailedException(sprintf('Cannot put the deferred event into the queue, the table "%s": %s', $this->table(), $this->reason($connection, $error)), $unsent, $error);
        }
    }

    public function message(DeferredJob $job): string
    {
        return $job->payload;
    }

    /**
     * Whether a job waits for a commit by the application even though nobody has begun a transaction (`auto_commit: false`).
     *
     * @throws \UnexpectedValueException
     */
    public function isWithoutAutoCommit(): bool
    {
        return $this->connect()->isWithoutAutoCommit();
    }

    /** @param non-empty-list<DeferredJob> $jobs */
    private function insert(SqlConnectionInterface $connection, array $jobs): void
    {
        // The delay counts from the server's time on, by which the workers go.
        $row = sprintf('(?, ?, ?, ?, %s + ?, ?)', $this->server->nowMs());
        $sql = sprintf('INSERT INTO %s (queue, payload, priority, max_attempts, due_at, unique_key) VALUES %s', $this->table(), implode(', ', array_fill(0, \count($jobs), $row)));
        if ([] !== array_filter($jobs, static fn (DeferredJob $job): bool => null !== $job->unique)) {
            $sql .= ' '.$this->server->leaveOutTaken();
        }
        $values = array_map(static fn (DeferredJob $job): array => [$job->queue, new Bytes($job->payload), $job->priority, $job->attempts, $job->delayMs(), $job->unique], $jobs);
        $connection->execute($sql, array_merge(...$values));
    }

    private function connect(): SqlConnectionInterface
    {
        $connection = ($this->connection)();

        return match (true) {
            $connection instanceof Connection => new DbalConnection($connection),
            $connection instanceof \PDO => new PdoConnection($connection),
            default => throw new \UnexpectedValueException(sprintf('the option "connection" names a service of the class "%s", which is neither a connection of DBAL nor PDO', $connection::class)),
        };
    }

    private function table(): string
    {
        return $this->tablePrefix.'jobs';
    }

    private function reason(?SqlConnectionInterface $connection, \Exception $error): string
    {
        // The further lines of PostgreSQL may have the row with the payload.
        $reason = rtrim(explode("\n", $error->getMessage(), 2)[0], ' :');
        try {
            $server = null === $connection ? null : DatabaseServer::of($connection->native());
        } catch (\Exception) {
            // It cannot be reached.
            $server = null;
        }
        if (null !== $server && $server !== $this->server) {
            return sprintf('the connection is one to %s, and the backend is "%s": set "fervo_deferred_event.backend.type" to "%s", or name another connection (%s)', $server->label(), $this->server->value, $server->value, $reason);
        }
        if ($error instanceof TableNotFoundException || \in_array($error->getCode(), self::TABLE_MISSING, true)) {
            return sprintf('there is no such table in the connection\'s database. fervo-worker creates it: start the worker, or run the output of "fervo-worker schema" (%s)', $reason);
        }

        return $reason;
    }

    /**
     * @param list<DeferredJob> $jobs
     *
     * @return list<non-empty-list<DeferredJob>> in their order
     */
    private static function split(array $jobs): array
    {
        $parts = $part = [];
        $length = 0;
        foreach ($jobs as $job) {
            $length += \strlen($job->payload);
            if ([] !== $part && ($length > self::MAX_LENGTH || \count($part) >= self::MAX_JOBS)) {
                $parts[] = $part;
                $part = [];
                $length = \strlen($job->payload);
            }
            $part[] = $job;
        }

        return [] === $part ? $parts : [...$parts, $part];
    }
}
