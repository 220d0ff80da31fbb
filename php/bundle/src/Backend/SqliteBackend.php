<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

use Fervo\DeferredEventBundle\Exception\SendFailedException;

/**
 * fervo-worker's embedded queue, one SQLite file, by plain PDO. The worker creates the file and owns its schema.
 *
 * @internal
 */
final class SqliteBackend implements ReplaceableBackendInterface
{
    /** "frvo": how the file says whose it is (PRAGMA application_id). */
    private const APPLICATION_ID = 0x6672766F;

    private ?\PDOStatement $insert = null;
    private ?\PDO $db = null;

    public function __construct(
        private readonly string $path,
        private readonly int $busyTimeoutMs,
    ) {
    }

    public function send(DeferredJob ...$jobs): void
    {
        try {
            $db = $this->db ??= $this->open();
            // For the lock at once: a transaction that began by reading could not wait for it.
            $db->exec('BEGIN IMMEDIATE');
            try {
                foreach ($jobs as $job) {
                    $this->insert($db, $job);
                }
                $db->exec('COMMIT');
            } catch (\PDOException $error) {
                try {
                    $db->exec('ROLLBACK');
                } catch (\PDOException) {
                    // SQLite has done so by itself, as when the disk is full; the first error is the one to tell.
                }
                throw $error;
            }
        } catch (\PDOException|\UnexpectedValueException $error) {
            $this->db = $this->insert = null;
            throw new SendFailedException(sprintf('Cannot put the deferred event into the queue "%s": %s', $this->path, $error->getMessage()), array_values($jobs), $error);
        }
    }

    public function message(DeferredJob $job): string
    {
        return $job->payload;
    }

    private function insert(\PDO $db, DeferredJob $job): void
    {
        $this->insert ??= $db->prepare('INSERT INTO fervo_jobs (queue, payload, priority, due_at, max_attempts) VALUES (?, ?, ?, ?, ?)');
        $this->insert->bindValue(1, $job->queue);
        $this->insert->bindValue(2, $job->payload, \PDO::PARAM_LOB);
        $this->insert->bindValue(3, $job->priority, \PDO::PARAM_INT);
        $this->insert->bindValue(4, $job->notBeforeMs ?? (int) (microtime(true) * 1000), \PDO::PARAM_INT);
        $this->insert->bindValue(5, $job->attempts, null === $job->attempts ? \PDO::PARAM_NULL : \PDO::PARAM_INT);
        $this->insert->execute();
    }

    private function open(): \PDO
    {
        if (!is_file($this->path)) {
            $folder = \dirname($this->path);
            if (is_dir($folder) && !is_executable($folder)) {
                throw new \UnexpectedValueException(sprintf('this user may not enter the folder "%s". Who defers has to be able to write the queue: run it as the folder\'s owner, or let this user in', $folder));
            }
            throw new \UnexpectedValueException('there is no such file. fervo-worker creates it: run "fervo-worker check" or start the worker, with the same path in its configuration');
        }
        $db = new \PDO('sqlite:'.$this->path, null, null, [
            \PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION,
            \PDO::SQLITE_ATTR_OPEN_FLAGS => \PDO::SQLITE_OPEN_READWRITE,
        ]);
        $db->exec('PRAGMA busy_timeout = '.$this->busyTimeoutMs);
        // Once we say that it is in the queue, it also survives a power failure.
        $db->exec('PRAGMA synchronous = FULL');
        if (self::APPLICATION_ID !== self::applicationId($db)) {
            throw new \UnexpectedValueException('the file is not a queue of fervo-worker. Choose the path in the worker\'s configuration; "fervo-worker check" creates the queue');
        }

        return $db;
    }

    private static function applicationId(\PDO $db): int
    {
        $answer = $db->query('PRAGMA application_id');

        return false === $answer ? 0 : (int) $answer->fetchColumn();
    }
}
