<?php

declare(strict_types=1);

namespace App\Command;

use Doctrine\DBAL\Connection;
use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Input\ArrayInput;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\BufferedOutput;
use Symfony\Component\Console\Output\OutputInterface;
use Symfony\Component\ErrorHandler\Exception\FlattenException;
use Symfony\Component\Messenger\Stamp\TransportMessageIdStamp;
use Symfony\Component\Messenger\Transport\Serialization\SerializerInterface;

/**
 * Tells as JSON what the test compares: each row that was ever inserted, with its stamps in words; the rows that are left; and
 * what messenger:failed:show says of each message in the failure transport. What is by nature different in two runs has a word
 * instead of its value: times, ids, and the frames of a stack below Messenger's worker.
 */
#[AsCommand('app:report')]
final class ReportCommand extends Command
{
    /** @param array<string, SerializerInterface> $serializers by queue_name */
    public function __construct(private readonly Connection $connection, private readonly array $serializers)
    {
        parent::__construct();
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $columns = 'body, headers, queue_name, created_at, available_at';
        $report = [
            'inserted' => array_map($this->describe(...), $this->connection->fetchAllAssociative("SELECT $columns FROM history ORDER BY n")),
            'left' => array_map($this->describe(...), $this->connection->fetchAllAssociative("SELECT $columns, delivered_at FROM messenger_messages WHERE delivered_at IS NULL OR delivered_at < '9999-12-31 23:59:59' ORDER BY id")),
            'shown' => [],
        ];
        foreach ($this->connection->fetchAllAssociative("SELECT id, body, headers FROM messenger_messages WHERE queue_name = 'failed' ORDER BY id") as $row) {
            $report['shown'][] = ['name' => $this->name($row), 'text' => $this->show((string) $row['id'])];
        }
        $output->writeln(json_encode($report, \JSON_THROW_ON_ERROR | \JSON_UNESCAPED_SLASHES), OutputInterface::OUTPUT_RAW);

        return 0;
    }

    private function describe(array $row): array
    {
        $headers = json_decode($row['headers'], true, 512, \JSON_THROW_ON_ERROR);
        try {
            $serializer = $this->serializers[$row['queue_name']] ?? throw new \DomainException("nobody's queue");
            $envelope = $serializer->decode(['body' => $row['body'], 'headers' => $headers]);
            $stamps = [];
            foreach ($envelope->all() as $ofOneClass) {
                foreach ($ofOneClass as $stamp) {
                    $stamps[] = self::inWords($stamp);
                }
            }
            $message = self::inWords($envelope->getMessage());
        } catch (\Throwable $error) {
            $stamps = [];
            $message = 'cannot be decoded: '.$error::class;
        }
        $seconds = static fn (string $column) => (new \DateTimeImmutable($row[$column], new \DateTimeZone('UTC')))->getTimestamp();

        return [
            'name' => $this->name($row),
            'queue' => $row['queue_name'],
            'headers' => array_keys($headers),
            'message' => $message,
            'stamps' => $stamps,
            'delay' => $seconds('available_at') - $seconds('created_at'),
            'availableAt' => $seconds('available_at'),
            'isDelivered' => isset($row['delivered_at']),
        ];
    }

    /** The name of the message, whatever has become of its bytes. */
    private function name(array $row): string
    {
        foreach ([$row['body'], base64_decode($row['body']), $row['headers']] as $text) {
            if (preg_match('/\b\d{3,}-[a-z][a-z0-9-]+/', $text, $found)) {
                return $found[0];
            }
        }

        return 'unknown';
    }

    private function show(string $id): string
    {
        $output = new BufferedOutput(OutputInterface::VERBOSITY_VERY_VERBOSE);
        $input = new ArrayInput(['id' => $id]);
        $input->setInteractive(false);
        $this->getApplication()->find('messenger:failed:show')->run($input, $output);

        return $output->fetch();
    }

    private static function inWords(mixed $value): string
    {
        return match (true) {
            $value instanceof \DateTimeInterface => 'time',
            $value instanceof FlattenException => sprintf('%s "%s" (%s) at %s:%d', $value->getClass(), $value->getMessage(), $value->getCode(), basename($value->getFile()), $value->getLine()),
            $value instanceof TransportMessageIdStamp => 'TransportMessageIdStamp(id)',
            \is_object($value) => (new \ReflectionClass($value))->getShortName().'('.implode(', ', self::properties($value)).')',
            \is_array($value) => '['.implode(', ', array_map(static fn ($key) => $key.': '.self::inWords($value[$key]), array_keys($value))).']',
            default => json_encode($value, \JSON_THROW_ON_ERROR | \JSON_UNESCAPED_SLASHES),
        };
    }

    /** @return list<string> */
    private static function properties(object $object): array
    {
        $words = [];
        for ($class = new \ReflectionClass($object); false !== $class; $class = $class->getParentClass()) {
            foreach ($class->getProperties() as $property) {
                if (!$property->isStatic() && $property->getDeclaringClass()->getName() === $class->getName()) {
                    $property->setAccessible(true);
                    $words[] = $property->getName().': '.self::inWords($property->isInitialized($object) ? $property->getValue($object) : null);
                }
            }
        }

        return $words;
    }
}
