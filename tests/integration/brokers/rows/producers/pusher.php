<?php

declare(strict_types=1);

/**
 * An application that does what it is told, step by step, and pushes jobs over its own connection: with plain PDO, or by the
 * bundle's backend over DBAL.
 *
 *     php pusher.php pdo|bundle postgres|mysql SOCKET DATABASE USER
 *
 * Each line of STDIN is a step, such as {"do": "push", "job": 7}; each is answered with a line: {"ok": …} or {"error": "…"}.
 */

use Doctrine\DBAL\Connection;
use Doctrine\DBAL\DriverManager;
use Fervo\DeferredEventBundle\Backend\DatabaseBackend;
use Fervo\DeferredEventBundle\Backend\DeferredJob;
use Fervo\DeferredEventBundle\Outbox;
use Fervo\DeferredEventBundle\SendMode;
use Psr\Log\NullLogger;

const CONNECTION_ID = ['postgres' => 'SELECT pg_backend_pid()', 'mysql' => 'SELECT CONNECTION_ID()'];

interface Application
{
    /** @return int the connection's id at the server */
    public function connect(): int;

    public function begin(): void;

    public function commit(): void;

    public function rollBack(): void;

    public function execute(string $sql): void;

    public function push(string $payload): void;
}

final class PlainApplication implements Application
{
    private ?PDO $db = null;

    public function __construct(private readonly string $server, private readonly string $dsn, private readonly string $user)
    {
    }

    public function connect(): int
    {
        $this->db = null;
        $this->db = new PDO($this->dsn, $this->user, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);

        return (int) $this->db->query(CONNECTION_ID[$this->server])->fetchColumn();
    }

    public function begin(): void
    {
        $this->db->beginTransaction();
    }

    public function commit(): void
    {
        $this->db->commit();
    }

    public function rollBack(): void
    {
        $this->db->rollBack();
    }

    public function execute(string $sql): void
    {
        $this->db->exec($sql);
    }

    public function push(string $payload): void
    {
        $push = $this->db->prepare('INSERT INTO fervo_jobs (queue, payload) VALUES (?, ?)');
        $push->bindValue(1, 'mail');
        $push->bindValue(2, $payload, PDO::PARAM_LOB);
        $push->execute();
    }
}

final class BundleApplication implements Application
{
    private readonly Connection $db;
    private readonly Outbox $outbox;

    /** @param array<string, mixed> $params of DBAL */
    public function __construct(private readonly string $server, array $params)
    {
        $this->db = DriverManager::getConnection($params);
        // As the container has it for `send: immediately` and `after_commit`.
        $backend = new DatabaseBackend($server, fn (): Connection => $this->db, 'fervo_');
        $this->outbox = new Outbox($backend, SendMode::Immediately, static fn () => new NullLogger());
    }

    public function connect(): int
    {
        $this->db->close();

        return (int) $this->db->fetchOne(CONNECTION_ID[$this->server]);
    }

    public function begin(): void
    {
        $this->db->beginTransaction();
    }

    public function commit(): void
    {
        $this->db->commit();
    }

    public function rollBack(): void
    {
        $this->db->rollBack();
    }

    public function execute(string $sql): void
    {
        $this->db->executeStatement($sql);
    }

    public function push(string $payload): void
    {
        $this->outbox->add(new DeferredJob($payload, 'mail', null, 0, null, 'order', 'Order'));
    }
}

[, $how, $server, $socket, $database, $user] = $argv;
if ('bundle' === $how) {
    require dirname(__DIR__, 5).'/php/bundle/tests/autoload.php';
    $params = 'postgres' === $server ? ['driver' => 'pdo_pgsql', 'host' => $socket] : ['driver' => 'pdo_mysql', 'unix_socket' => $socket, 'charset' => 'utf8mb4'];
    $application = new BundleApplication($server, $params + ['dbname' => $database, 'user' => $user]);
} else {
    $dsn = 'postgres' === $server ? "pgsql:host=$socket;dbname=$database" : "mysql:unix_socket=$socket;dbname=$database;charset=utf8mb4";
    $application = new PlainApplication($server, $dsn, $user);
}

while (false !== $line = fgets(STDIN)) {
    $step = json_decode($line, true, flags: JSON_THROW_ON_ERROR);
    $answer = true;
    try {
        match ($step['do']) {
            'connect' => $answer = $application->connect(),
            'begin' => $application->begin(),
            'push' => $application->push((string) $step['job']),
            'order' => $application->execute('INSERT INTO orders (id) VALUES ('.(int) $step['job'].')'),
            'fail' => $application->execute('INSERT INTO orders (id) VALUES (NULL)'),
            'savepoint' => $application->execute('SAVEPOINT '.$step['name']),
            'roll back to' => $application->execute('ROLLBACK TO SAVEPOINT '.$step['name']),
            'release' => $application->execute('RELEASE SAVEPOINT '.$step['name']),
            'roll back' => $application->rollBack(),
            'commit' => $application->commit(),
        };
        echo json_encode(['ok' => $answer]), "\n";
    } catch (Exception $error) {
        echo json_encode(['error' => $error->getMessage()], JSON_INVALID_UTF8_SUBSTITUTE), "\n";
    }
}
