<?php

declare(strict_types=1);

namespace App\Command;

use Doctrine\DBAL\Connection;
use Doctrine\DBAL\Platforms\AbstractMySQLPlatform;
use Doctrine\DBAL\Platforms\PostgreSQLPlatform;
use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Input\ArrayInput;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;

/** Makes Messenger's table, and has the database keep a copy of each row that anybody inserts into it. */
#[AsCommand('app:prepare')]
final class PrepareCommand extends Command
{
    private const COLUMNS = 'body, headers, queue_name, created_at, available_at';

    public function __construct(private readonly Connection $connection)
    {
        parent::__construct();
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $this->getApplication()->find('messenger:setup-transports')->run(new ArrayInput([]), $output);
        $platform = $this->connection->getDatabasePlatform();
        [$number, $text] = match (true) {
            $platform instanceof PostgreSQLPlatform => ['BIGSERIAL PRIMARY KEY', 'TEXT'],
            $platform instanceof AbstractMySQLPlatform => ['BIGINT AUTO_INCREMENT PRIMARY KEY', 'LONGTEXT'],
            default => ['INTEGER PRIMARY KEY AUTOINCREMENT', 'TEXT'],
        };
        $time = $platform instanceof PostgreSQLPlatform ? 'TIMESTAMP(0)' : 'DATETIME';
        $this->query("CREATE TABLE history (n $number, body $text, headers $text, queue_name VARCHAR(190), created_at $time, available_at $time)");
        $copy = sprintf('INSERT INTO history (%s) VALUES (NEW.%s)', self::COLUMNS, str_replace(', ', ', NEW.', self::COLUMNS));
        if ($platform instanceof PostgreSQLPlatform) {
            $this->query("CREATE FUNCTION keep_history() RETURNS trigger LANGUAGE plpgsql AS \$\$BEGIN $copy; RETURN NULL; END\$\$");
            $this->query('CREATE TRIGGER history AFTER INSERT ON messenger_messages FOR EACH ROW EXECUTE FUNCTION keep_history()');
        } else {
            $this->query("CREATE TRIGGER history AFTER INSERT ON messenger_messages FOR EACH ROW BEGIN $copy; END");
        }

        return 0;
    }

    private function query(string $statement): void
    {
        // No driver has to prepare it.
        $this->connection->getNativeConnection()->exec($statement);
    }
}
