<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Doctrine;

use Doctrine\DBAL\Driver\Connection;
use Doctrine\DBAL\Driver\Middleware\AbstractConnectionMiddleware;
use Doctrine\DBAL\Driver\Result;

/** @internal */
final class TrackedConnection extends AbstractConnectionMiddleware
{
    public function __construct(Connection $connection, private readonly ConnectionTransactions $transactions)
    {
        parent::__construct($connection);
    }

    public function exec(string $sql): int|string
    {
        $result = parent::exec($sql);
        $this->transactions->executed($sql);

        return $result;
    }

    public function query(string $sql): Result
    {
        $result = parent::query($sql);
        $this->transactions->executed($sql);

        return $result;
    }

    public function beginTransaction(): void
    {
        try {
            parent::beginTransaction();
        } catch (\Throwable $error) {
            $this->transactions->beginFailed();
            throw $error;
        }
        $this->transactions->begun();
    }

    public function commit(): void
    {
        $isFailed = $this->transactions->isAwaited() && FailedTransaction::isOpenOn($this);
        try {
            parent::commit();
        } catch (\Throwable $error) {
            $this->transactions->commitFailed();
            throw $error;
        }
        $isFailed ? $this->transactions->rolledBack() : $this->transactions->committed();
    }

    public function rollBack(): void
    {
        // Also when the connection was lost: the database has rolled back by itself.
        try {
            parent::rollBack();
        } finally {
            $this->transactions->rolledBack();
        }
    }
}
