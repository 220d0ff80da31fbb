<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Doctrine;

use Doctrine\DBAL\Connection as DbalConnection;
use Doctrine\DBAL\Driver\Connection;
use Doctrine\DBAL\Driver\Middleware\AbstractConnectionMiddleware;
use Doctrine\DBAL\Driver\Result;

/** @internal */
final class TrackedDbal3Connection extends AbstractConnectionMiddleware
{
    public function __construct(Connection $connection, private readonly ConnectionTransactions $transactions)
    {
        parent::__construct($connection);
    }

    public function exec(string $sql): int
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

    /** @return bool */
    public function beginTransaction()
    {
        try {
            $result = parent::beginTransaction();
        } catch (\Throwable $error) {
            $this->transactions->beginFailed();
            throw $error;
        }
        false === $result ? $this->transactions->beginFailed() : $this->transactions->begun();

        return $result;
    }

    /** @return bool */
    public function commit()
    {
        $isFailed = $this->transactions->isAwaited() && FailedTransaction::isOpenOn($this);
        try {
            $result = parent::commit();
        } catch (\Throwable $error) {
            $this->commitFailed();
            throw $error;
        }
        if (false === $result) {
            // For DBAL it is over, whatever its version.
            $this->transactions->commitFailed();
        } else {
            $isFailed ? $this->transactions->rolledBack() : $this->transactions->committed();
        }

        return $result;
    }

    /**
     * DBAL goes on in the transaction then, up to 3.6.1; where the database does too, nothing has ended. For those that have this method,
     * as for DBAL 4, it is over.
     */
    private function commitFailed(): void
    {
        if (method_exists(DbalConnection::class, 'updateTransactionStateAfterCommit') || !FailedTransaction::hasOutlivedItsCommitOn($this)) {
            $this->transactions->commitFailed();
        }
    }

    /** @return bool */
    public function rollBack()
    {
        // Also when the connection was lost: the database has rolled back by itself.
        try {
            return parent::rollBack();
        } finally {
            $this->transactions->rolledBack();
        }
    }
}
