<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

/** @internal */
final class PdoConnection implements SqlConnectionInterface
{
    public function __construct(private readonly \PDO $pdo)
    {
    }

    public function execute(string $sql, array $values): void
    {
        // The application may have chosen that its own errors are silent.
        $errorMode = $this->pdo->getAttribute(\PDO::ATTR_ERRMODE);
        $this->pdo->setAttribute(\PDO::ATTR_ERRMODE, \PDO::ERRMODE_EXCEPTION);
        try {
            $statement = $this->pdo->prepare($sql);
            foreach ($values as $at => $value) {
                $statement->bindValue($at + 1, $value instanceof Bytes ? $value->value : $value, match (true) {
                    $value instanceof Bytes => \PDO::PARAM_LOB,
                    \is_int($value) => \PDO::PARAM_INT,
                    null === $value => \PDO::PARAM_NULL,
                    default => \PDO::PARAM_STR,
                });
            }
            $statement->execute();
        } finally {
            $this->pdo->setAttribute(\PDO::ATTR_ERRMODE, $errorMode);
        }
    }

    public function native(): \PDO
    {
        return $this->pdo;
    }

    public function isWithoutAutoCommit(): bool
    {
        return 'mysql' === $this->pdo->getAttribute(\PDO::ATTR_DRIVER_NAME) && !$this->pdo->getAttribute(\PDO::ATTR_AUTOCOMMIT);
    }
}
