<?php

declare(strict_types=1);

namespace App\Command;

use App\Message\Message;
use App\Message\Task;
use Doctrine\DBAL\Connection;
use Symfony\Component\Console\Attribute\AsCommand;
use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Output\OutputInterface;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\MessageBusInterface;
use Symfony\Component\Messenger\Stamp\DelayStamp;
use Symfony\Component\Messenger\Transport\Serialization\PhpSerializer;
use Symfony\Component\Messenger\Transport\Serialization\Serializer;

/** The producer: dispatches the messages of a list, which it reads as JSON. */
#[AsCommand('app:dispatch')]
final class DispatchCommand extends Command
{
    private const QUEUES = ['php' => 'default', 'json' => 'json_tasks'];

    public function __construct(private readonly MessageBusInterface $bus, private readonly Connection $connection)
    {
        parent::__construct();
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        foreach (json_decode(stream_get_contents(\STDIN), true, 512, \JSON_THROW_ON_ERROR) as $one) {
            $class = 'App\\Message\\'.$one['class'];
            if (\in_array($one['action'], ['garbage', 'class gone'], true)) {
                $this->insertUndecodable($one['name'], $one['transport'], $one['action']);
                continue;
            }
            $message = new $class($one['name'], $one['transport'], $one['action']);
            \assert($message instanceof Message);
            $this->bus->dispatch($message, 'delayed' === $one['action'] ? [new DelayStamp(2000)] : []);
        }

        return 0;
    }

    private function insertUndecodable(string $name, string $transport, string $how): void
    {
        $serializer = 'php' === $transport ? new PhpSerializer() : Serializer::create();
        ['body' => $body, 'headers' => $headers] = $serializer->encode(new Envelope(new Task($name, $transport, 'ok'))) + ['headers' => []];
        if ('garbage' === $how) {
            $body = "garbage $name";
        } else {
            // Of the same length, as serialized PHP has it.
            $body = str_replace('Task', 'Gone', $body);
            $headers = str_replace('Task', 'Gone', $headers);
        }
        $now = gmdate('Y-m-d H:i:s');
        $this->connection->insert('messenger_messages', [
            'body' => $body, 'headers' => json_encode($headers), 'queue_name' => self::QUEUES[$transport],
            'created_at' => $now, 'available_at' => $now,
        ]);
    }
}
