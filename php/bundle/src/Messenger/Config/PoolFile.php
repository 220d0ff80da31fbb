<?php

declare(strict_types=1);

namespace Fervo\DeferredEventBundle\Messenger\Config;

/**
 * A php-fpm pool for messages, with those PHP settings of the command line that handlers can notice.
 *
 * @internal
 */
final class PoolFile
{
    /** As PHP's command line has them; `fervo-worker check --call-script` compares the same ones. */
    public const VALUES = [
        'memory_limit', 'date.timezone', 'default_charset', 'default_socket_timeout', 'error_reporting', 'include_path', 'intl.default_locale',
        'open_basedir', 'pcre.backtrack_limit', 'pcre.recursion_limit', 'precision', 'serialize_precision', 'short_open_tag', 'sys_temp_dir',
        'auto_prepend_file', 'auto_append_file', 'user_agent', 'zend.assertions',
    ];

    /** The socket of the status page of its own: the page answers also while all children are busy. */
    public static function statusAddress(string $address): string
    {
        return preg_replace('/\.sock$/', '', $address).'-status.sock';
    }

    /** @param callable(string): ?string $ini the settings of PHP's command line */
    public static function write(string $address, string $user, int $children, callable $ini): string
    {
        $values = [];
        foreach (self::VALUES as $name) {
            $value = $ini($name);
            // An empty value is the default of each of them.
            if (null !== $value && '' !== $value) {
                $values[] = \sprintf('php_admin_value[%s] = %s', $name, self::quote($value));
            }
        }

        return implode("\n", [
            '; A php-fpm pool for messages, printed by bin/console fervo:worker:config --pool. Put it into a master of its own: one that also',
            '; serves the web would serve no request while a reload waits for the last running message. In that master\'s [global]:',
            '; process_control_timeout = 65s',
            '[fervo]',
            '; It reads the secrets of the application and writes its cache.',
            'user = '.$user,
            'group = '.$user,
            'listen = '.$address,
            'listen.owner = '.$user,
            'listen.group = '.$user,
            'listen.mode = 0660',
            'pm = static',
            'pm.max_children = '.$children,
            'pm.max_requests = 1000',
            'pm.status_path = /status',
            '; Answers also while all children are busy, so that the worker can end the process of a message whose time is over.',
            'pm.status_listen = '.self::statusAddress($address),
            '; The environment of php-fpm, as messenger:consume has its own: start both with the same variables.',
            'clear_env = no',
            '; Later than timeout_ms of the worker, which tells more.',
            'request_terminate_timeout = 90s',
            '',
            'php_admin_flag[display_errors] = off',
            'php_admin_flag[log_errors] = on',
            'php_admin_flag[html_errors] = off',
            '; As on the command line of PHP '.\PHP_VERSION.', which has no time limit.',
            'php_admin_value[max_execution_time] = 0',
            ...('-1' === $ini('memory_limit') ? ['; memory_limit = -1 is that of the command line, which has none. Set one: a handler can take all memory of the machine.'] : []),
            ...$values,
        ])."\n";
    }

    private static function quote(string $value): string
    {
        return 1 === preg_match('/^[A-Za-z0-9_.\/-]+$/', $value) ? $value : '"'.addcslashes($value, '"\\').'"';
    }
}
