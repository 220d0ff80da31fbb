<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Backend;

/**
 * The two commands of beanstalkd's protocol that a producer needs.
 *
 * @internal
 */
final class BeanstalkdConnection
{
    private const REFUSALS = [
        'JOB_TOO_BIG' => 'JOB_TOO_BIG: the event is %d bytes on the wire, more than the server takes (65535, unless beanstalkd was started with another -z). Defer an id instead of the data, or raise -z',
        'DRAINING' => 'DRAINING: the server takes no new jobs, for it is about to be stopped (%d bytes)',
        'OUT_OF_MEMORY' => 'OUT_OF_MEMORY: the server has no room for %d bytes',
        'BURIED' => 'BURIED: the server is out of memory, and has put the job of %d bytes aside; kick it when there is room',
    ];

    /** @var resource */
    private $stream;
    private string $tube = 'default';

    /** @throws \RuntimeException */
    public function __construct(string $address, int $timeoutMs)
    {
        $stream = @stream_socket_client($address, $code, $message, $timeoutMs / 1000);
        if (false === $stream) {
            throw new \RuntimeException(lcfirst($message ?: 'cannot connect'));
        }
        stream_set_timeout($stream, intdiv($timeoutMs, 1000), $timeoutMs % 1000 * 1000);
        $this->stream = $stream;
    }

    /**
     * Null = the server has the job.
     *
     * @param array{priority: int, delay: int, ttr: int} $options delay and ttr in seconds
     *
     * @throws \RuntimeException when the connection is of no more use
     */
    public function put(string $tube, string $message, array $options): ?BeanstalkdRefusal
    {
        if ($tube !== $this->tube) {
            if (1 !== preg_match('~^[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,199}$~D', $tube)) {
                return new BeanstalkdRefusal(sprintf('the queue "%s" is no name of a tube: it has up to 200 of A-Z a-z 0-9 . _ -, begins with no "-", and has no ":"', $tube), true);
            }
            $this->use($tube);
        }
        $bytes = \strlen($message);
        $reply = $this->ask("put {$options['priority']} {$options['delay']} {$options['ttr']} $bytes\r\n$message\r\n");
        if (str_starts_with($reply, 'INSERTED ')) {
            return null;
        }
        $word = (string) strtok($reply, ' ');
        $refusal = self::REFUSALS[$word] ?? throw new \RuntimeException(sprintf('it answered "%s" to a job of %d bytes', addcslashes($reply, "\0..\37"), $bytes));

        return new BeanstalkdRefusal(sprintf($refusal, $bytes), 'JOB_TOO_BIG' === $word);
    }

    private function use(string $tube): void
    {
        if ("USING $tube" !== $reply = $this->ask("use $tube\r\n")) {
            throw new \RuntimeException(sprintf('it answered "%s" to "use %s"', addcslashes($reply, "\0..\37"), $tube));
        }
        $this->tube = $tube;
    }

    private function ask(string $command): string
    {
        for ($sent = 0; $sent < \strlen($command); $sent += $written) {
            $written = @fwrite($this->stream, substr($command, $sent, 65536));
            if (false === $written || 0 === $written) {
                throw new \RuntimeException('the connection was lost');
            }
        }
        $line = fgets($this->stream);
        if (false === $line || !str_ends_with($line, "\r\n")) {
            throw new \RuntimeException(stream_get_meta_data($this->stream)['timed_out'] ? 'it does not answer in time' : 'the connection was lost');
        }

        return substr($line, 0, -2);
    }
}
