<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Doctrine;

/**
 * The transaction of one connection to the database, as its driver sees it: DBAL asks the driver for the outermost
 * transaction only, and makes those inside by savepoints.
 *
 * A transaction was committed when the driver said so, and not before. One whose commit failed may be committed by a further
 * attempt, as on SQLite when the database was locked; until then it is over for those who ask, and whatever else happens to the
 * connection means that it was not committed: a rollback, another transaction, the connection's end.
 *
 * @internal
 */
final class ConnectionTransactions
{
    /** @var list<TransactionScope> the transaction, and the savepoints in it; empty outside of one */
    private array $scopes = [];

    /** Its commit has failed. */
    private ?TransactionScope $doubtful = null;

    /** @param \Closure(): void $onEnded is called when all who waited for a scope have been told */
    public function __construct(private readonly \Closure $onEnded)
    {
    }

    public function __destruct()
    {
        $this->rolledBack();
    }

    /** The innermost scope that is open; null outside of a transaction. */
    public function scope(): ?TransactionScope
    {
        return [] === $this->scopes ? null : $this->scopes[array_key_last($this->scopes)];
    }

    /** Whether somebody waits for the end of the transaction that is open, or of one whose commit has failed. */
    public function isAwaited(): bool
    {
        foreach ($this->scopes as $scope) {
            if ($scope->isAwaited()) {
                return true;
            }
        }

        return true === $this->doubtful?->isAwaited();
    }

    public function begun(): void
    {
        $this->rolledBack();
        $this->scopes = [new TransactionScope()];
    }

    /** The database is in a transaction already: after a commit that failed it is still the same one, on SQLite. */
    public function beginFailed(): void
    {
        if (null !== $this->doubtful) {
            $this->scopes = [$this->doubtful];
            $this->doubtful = null;
        }
    }

    public function committed(): void
    {
        $this->end($this->takeTransaction(), true);
    }

    public function commitFailed(): void
    {
        $this->doubtful = $this->takeTransaction();
    }

    public function rolledBack(): void
    {
        $this->end($this->takeTransaction(), false);
    }

    /** A statement has been executed that may have been one about savepoints. */
    public function executed(string $sql): void
    {
        // The one thing that each statement of the application pays for.
        if ([] === $this->scopes || null === $statement = SavepointStatement::read($sql)) {
            return;
        }
        $at = $this->find($statement->savepoint);
        match ($statement->kind) {
            SavepointStatement::SET => $this->scopes[] = new TransactionScope($statement->savepoint),
            SavepointStatement::RELEASE => null === $at ? null : $this->mergeFrom($at),
            SavepointStatement::ROLL_BACK => null === $at ? null : $this->rollBackTo($at),
        };
    }

    /** The last savepoint of that name hides those before. */
    private function find(string $savepoint): ?int
    {
        for ($at = \count($this->scopes) - 1; $at > 0; --$at) {
            if ($savepoint === $this->scopes[$at]->savepoint) {
                return $at;
            }
        }

        return null;
    }

    /** The savepoint and all in it become part of what surrounds them. */
    private function mergeFrom(int $at): void
    {
        $surrounding = $this->scopes[$at - 1];
        foreach (array_splice($this->scopes, $at) as $scope) {
            $scope->mergeInto($surrounding);
        }
    }

    /** All in the savepoint is undone; it stays, and can be rolled back to once more. */
    private function rollBackTo(int $at): void
    {
        $undone = array_splice($this->scopes, $at);
        $this->scopes[] = new TransactionScope($undone[0]->savepoint);
        foreach ($undone as $scope) {
            $scope->end(false);
        }
        ($this->onEnded)();
    }

    private function end(?TransactionScope $transaction, bool $isCommitted): void
    {
        if (null === $transaction) {
            return;
        }
        $transaction->end($isCommitted);
        ($this->onEnded)();
    }

    /** The transaction with all that its savepoints held; none is open then. */
    private function takeTransaction(): ?TransactionScope
    {
        if ([] !== $this->scopes) {
            $this->mergeFrom(1);
        }
        $transaction = $this->scopes[0] ?? $this->doubtful;
        $this->scopes = [];
        $this->doubtful = null;

        return $transaction;
    }
}
